"""Whitelists of imports for import-linter: a package imports what its contract names, and nothing else.

`pyproject.toml` registers the contract type `allowed`. Direct imports count, those for annotations alone included.
"""

from __future__ import annotations

import grimp
from importlinter import Contract, ContractCheck, fields, output
from importlinter.domain import helpers

_ROOT = "ccproxy_tui"  # named in a whitelist, it stands for itself alone


class AllowedContract(Contract):
    """`source_modules` and what is below them import one another, and `allowed_modules` with what is below those."""

    type_name = "allowed"

    source_modules = fields.ListField(subfield=fields.ModuleExpressionField())
    allowed_modules = fields.SetField(subfield=fields.StringField())

    def check(self, graph: grimp.ImportGraph, verbose: bool) -> ContractCheck:
        sources = {
            module.name
            for module in helpers.module_expressions_to_modules(graph, self.source_modules, as_packages=True)  # type: ignore[arg-type]
        }
        allowed: set[str] = {"__future__", *self.allowed_modules}  # type: ignore[misc]
        broken = [
            (source, imported)
            for source in sorted(sources)
            for imported in sorted(graph.find_modules_directly_imported_by(source) - sources)
            if not _is_in(imported, allowed)
        ]
        used = {name for source in sources for name in graph.find_modules_directly_imported_by(source)}
        idle = sorted(name for name in self.allowed_modules if not any(_is_in(one, {name}) for one in used))  # type: ignore[attr-defined]
        return ContractCheck(kept=not broken and not idle, metadata={"broken": broken, "idle": idle})

    def render_broken_contract(self, check: ContractCheck) -> None:
        for source, imported in check.metadata["broken"]:
            output.print_error(f"{source} is not allowed to import {imported}")
        for name in check.metadata["idle"]:
            output.print_error(f"{name} is allowed, and not imported")


def _is_in(module: str, packages: set[str]) -> bool:
    return any(module == name or (name != _ROOT and module.startswith(f"{name}.")) for name in packages)
