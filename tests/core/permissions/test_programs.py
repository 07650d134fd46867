"""What everyday commands have of rules: what `A` proposes for them, and what the rules cover."""

from __future__ import annotations

import pytest

from ccproxy_tui.core.permissions import PermissionRequest
from ccproxy_tui.core.permissions.programs import HARMFUL, NEVER, is_bounded, is_never
from ccproxy_tui.core.permissions.rules import decide, parse_rule, propose


def _asked(command: str) -> PermissionRequest:
    return PermissionRequest("Bash", {"command": command}, "rest", cwd="/repo")


# The command => the rules that are proposed for it, none where none may be.
_PROPOSED = r"""
git status => Bash(git status:*)
git status --short => Bash(git status:*)
git diff --stat => Bash(git diff:*)
git diff HEAD^ -- src/a.py => Bash(git diff:*)
git --no-pager diff => Bash(git --no-pager diff:*)
git log --oneline -20 => Bash(git log:*)
git log -p -S needle -- src => Bash(git log:*)
git log --author=me --since=2.weeks => Bash(git log:*)
git show HEAD:src/a.py => Bash(git show:*)
git show --stat HEAD => Bash(git show:*)
git blame -L 10,20 src/a.py => Bash(git blame:*)
git branch -a => Bash(git branch:*)
git branch --show-current => Bash(git branch:*)
git remote -v => Bash(git remote:*)
git stash list => Bash(git stash list:*)
git rev-parse --abbrev-ref HEAD => Bash(git rev-parse:*)
git ls-files '*.py' => Bash(git ls-files:*)
git grep -n needle => Bash(git grep:*)
git add -A => Bash(git add:*)
git add src/a.py tests => Bash(git add:*)
git commit -m 'rm the old code' => Bash(git commit:*)
git commit -am 'Fix it' => Bash(git commit:*)
git push => Bash(git push)
git push origin main => Bash(git push origin main)
git pull --rebase => Bash(git pull --rebase)
git fetch => Bash(git fetch)
git checkout -b feature => Bash(git checkout -b feature)
git switch main => Bash(git switch main)
git merge main => Bash(git merge main)
git stash => Bash(git stash)
git tag v1 => Bash(git tag v1)
ls => Bash(ls:*)
ls -la src => Bash(ls:*)
ls -la /repo/src => Bash(ls:*)
cat src/a.py => Bash(cat:*)
cat package.json | head -40 => Bash(cat:*) + Bash(head:*)
head -n 20 README.md => Bash(head:*)
tail -50 log.txt => Bash(tail:*)
wc -l src/a.py => Bash(wc:*)
grep -rn 'def main' src --include='*.py' => Bash(grep:*)
grep -rn "/api/v1" src => Bash(grep:*)
rg -n 'class Foo' src -g '*.py' => Bash(rg:*)
rg --files src => Bash(rg --files:*)
fd a.py => Bash(fd:*)
tree -L 2 => Bash(tree:*)
du -sh . => Bash(du:*)
pwd => Bash(pwd:*)
echo done => Bash(echo:*)
which node => Bash(which:*)
date +%s => Bash(date:*)
jq '.scripts' package.json => Bash(jq:*)
sort -u a.txt | uniq -c | sort -rn | head -5 => Bash(sort:*) + Bash(uniq:*) + Bash(head:*)
diff -u a.txt b.txt => Bash(diff:*)
cd /repo && git status => Bash(cd:*) + Bash(git status:*)
cd src && ls => Bash(cd:*) + Bash(ls:*)
cd sub && npm test => Bash(cd sub && npm test)
mkdir -p build => Bash(mkdir -p build)
touch a.txt => Bash(touch a.txt)
cp a.txt b.txt => Bash(cp a.txt b.txt)
mv a.txt b.txt => Bash(mv a.txt b.txt)
chmod +x run.sh => Bash(chmod +x run.sh)
npm test => Bash(npm test)
npm run build => Bash(npm run build)
npm run lint -- --fix => Bash(npm run lint -- --fix)
npm install => Bash(npm install)
npm ci => Bash(npm ci)
npm ls => Bash(npm ls)
npx eslint . =>
pnpm install => Bash(pnpm install)
pnpm run test => Bash(pnpm run test)
yarn build => Bash(yarn build)
pytest => Bash(pytest:*)
pytest -q tests/x.py => Bash(pytest:*)
pytest -x -k 'a and not b' tests/x.py::test_a => Bash(pytest:*)
python -m pytest -q =>
python3 x.py =>
uv run pytest -q => Bash(uv run pytest -q)
uv sync => Bash(uv sync)
uv pip install httpx => Bash(uv pip install httpx)
poetry run pytest => Bash(poetry run pytest)
ruff check . => Bash(ruff check:*)
ruff check --fix src => Bash(ruff check --fix src)
ruff format --check . => Bash(ruff format --check:*)
mypy src => Bash(mypy:*)
black --check . => Bash(black --check:*)
eslint src --ext .ts,.tsx => Bash(eslint:*)
tsc --noEmit => Bash(tsc --noEmit:*)
tsc => Bash(tsc)
prettier --check . => Bash(prettier --check:*)
make => Bash(make)
make test => Bash(make test)
make -j8 => Bash(make -j8)
cargo build => Bash(cargo build:*)
cargo build --release => Bash(cargo build:*)
cargo test => Bash(cargo test:*)
cargo test parser -- --nocapture => Bash(cargo test:*)
cargo clippy --all-targets -- -D warnings => Bash(cargo clippy:*)
cargo fmt --check => Bash(cargo fmt --check:*)
cargo run => Bash(cargo run)
go build ./... => Bash(go build:*)
go test ./... -run TestX -v => Bash(go test:*)
go vet ./... => Bash(go vet:*)
go mod tidy => Bash(go mod tidy)
go run . => Bash(go run .)
docker ps => Bash(docker ps:*)
docker compose up -d => Bash(docker compose up -d)
docker compose logs web => Bash(docker compose logs web)
docker build -t app . => Bash(docker build -t app .)
kubectl get pods => Bash(kubectl get pods)
terraform plan => Bash(terraform plan)
gh pr view 5 => Bash(gh pr view 5)
gh pr create --fill => Bash(gh pr create --fill)
gradle test => Bash(gradle test)
mvn test => Bash(mvn test)
dotnet test => Bash(dotnet test)
bundle exec rspec => Bash(bundle exec rspec)
rake test => Bash(rake test)
sed -n 1,20p a.txt => Bash(sed -n 1,20p a.txt)
find . -name '*.py' =>
curl https://example.org =>
rm -rf build =>
sudo ls =>
node x.js =>
ls *.py =>
ls > x =>
npm test 2>&1 | tail -20 => Bash(npm test 2>&1 | tail -20)
pytest -q 2>&1 | tail -5 => Bash(pytest:*) + Bash(tail:*)
git diff --stat && git status => Bash(git diff:*) + Bash(git status:*)
git add -A && git commit -m x => Bash(git add:*) + Bash(git commit:*)
npm run build && npm test => Bash(npm run build && npm test)
git -C sub status => Bash(git -C sub status)
git stash pop => Bash(git stash pop)
bundle exec rspec -f d => Bash(bundle exec rspec -f d)
pip install -r requirements.txt => Bash(pip install -r requirements.txt)
pip list => Bash(pip list)
docker run --rm app => Bash(docker run --rm app)
aws s3 ls => Bash(aws s3 ls)
psql -c 'select 1' => Bash(psql -c 'select 1')
"""


@pytest.mark.parametrize("line", _PROPOSED.strip().split("\n"))
def test_what_is_proposed(line: str) -> None:
    command, _, rules = line.partition(" =>")
    texts = propose(_asked(command))
    assert " + ".join(texts) == rules.strip()
    if texts:
        assert decide([parse_rule(text, "allow") for text in texts], _asked(command), high=False) is not None


_COVERED = r"""
Bash(git status:*) => git status -sb
Bash(git diff:*) => git diff --stat
Bash(git diff:*) => git diff --cached -- src/a.py
Bash(git diff:*) => git diff main...feature --name-only
Bash(git log:*) => git log --oneline -5
Bash(git log:*) => git log --since=yesterday --author=me src
Bash(git show:*) => git show HEAD
Bash(git branch:*) => git branch -vv
Bash(git add:*) => git add src/a.py
Bash(git commit:*) => git commit -m 'Remove the old code'
Bash(git stash list:*) => git stash list
Bash(ls:*) => ls -la /repo/src
Bash(cat:*) => cat src/a.py README.md
Bash(head:*) => head -n 5 a
Bash(tail:*) => tail -20 log.txt
Bash(grep:*) => grep -rnE 'def|class' src --include='*.py'
Bash(rg:*) => rg -n --glob '*.py' class src
Bash(rg --files:*) => rg --files -g '*.ts' src
Bash(sort:*) => sort -rnk2 a
Bash(wc:*) => wc -l a b c
Bash(jq:*) => jq -r '.a[].b'
Bash(echo:*) => echo --- anything at all
Bash(pytest:*) => pytest -q tests/test_x.py::test_y
Bash(pytest:*) => pytest -x --tb=short -k 'a or b' tests
Bash(ruff check:*) => ruff check --statistics src tests
Bash(mypy:*) => mypy --strict src
Bash(eslint:*) => eslint --max-warnings 0 src
Bash(prettier --check:*) => prettier --check src
Bash(tsc --noEmit:*) => tsc --noEmit --pretty
Bash(cargo build:*) => cargo build --release --features x
Bash(cargo test:*) => cargo test -p parser some::test -- --nocapture
Bash(cargo clippy:*) => cargo clippy --all-targets -- -D warnings
Bash(go test:*) => go test -v -race -run TestX ./pkg/...
Bash(go build:*) => go build ./cmd/app
Bash(docker ps:*) => docker ps -a
Bash(npm run:*) => npm run build
Bash(npm run build) => npm run build
Bash(make:*) => make test
Bash(make test) => make test
Bash(uv run:*) => uv run pytest -q
Bash(poetry run:*) => poetry run mypy src
Bash(uv run pytest -q) => uv run pytest -q
Bash(npm test 2>&1 | tail -20) => npm test 2>&1 | tail -20
Bash => git diff --stat && ls src
"""


@pytest.mark.parametrize("line", _COVERED.strip().split("\n"))
def test_what_is_covered(line: str) -> None:
    rule, _, command = line.partition(" => ")
    assert decide([parse_rule(rule, "allow")], _asked(command)) is not None


def test_the_lists_are_long_enough() -> None:
    assert len(_PROPOSED.strip().split("\n")) >= 80


@pytest.mark.parametrize("program", sorted(HARMFUL))
def test_no_table_holds_a_harmful_program(program: str) -> None:
    assert program in NEVER
    assert not is_bounded([program], lambda _: True)
    assert is_never(program.upper())
    assert is_never(f"{program}3.13")
    assert is_never(f"/bin/{program}")


@pytest.mark.parametrize("program", ["ls", "git diff", "pytest", "rg", "cargo build", "go test", "cat"])
@pytest.mark.parametrize(
    "word",
    [
        *("--exec=x", "--exec", "--output=x", "--output", "--config=x", "--config", "--upload-pack=x", "--eval=x"),
        *("@file", "+x", "/etc/x", "../x", "x/../../y", "~/x", "--", "-", "--unheard-of", "-@"),
    ],
)
def test_no_command_takes_what_is_not_listed(program: str, word: str) -> None:
    words = [*program.split(), "a", word] if word not in ("--", "-") else [*program.split(), word, "-x", "/etc/x"]
    assert not is_bounded(words, lambda path: not path.startswith(("/", "~", "..")) and "/.." not in path)
