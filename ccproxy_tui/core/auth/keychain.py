"""One secret in the system's keychain, by the library `keyring`, which need not be there."""

from __future__ import annotations


class KeychainError(Exception):
    """The keychain is there and can't be used just now. The message says why, and holds no secret."""


class Keychain:
    """`service` and `user` name the entry."""

    def __init__(self, service: str, user: str) -> None:
        self.service = service
        self._user = user

    def read(self) -> str | None:
        """None when there is no such entry, or no keychain. Raises KeychainError."""
        try:
            import keyring
            import keyring.errors
        except ImportError:
            return None
        try:
            return keyring.get_password(self.service, self._user)
        except keyring.errors.NoKeyringError:
            return None
        except keyring.errors.KeyringError as error:
            raise KeychainError(f"the keychain can't be read: {type(error).__name__}") from error

    def write(self, secret: str) -> None:
        """Raises KeychainError."""
        import keyring
        import keyring.errors

        try:
            keyring.set_password(self.service, self._user, secret)
        except keyring.errors.KeyringError as error:
            raise KeychainError(f"the keychain can't be written: {type(error).__name__}") from error
