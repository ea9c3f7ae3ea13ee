"""The running application and its engine, as the tests of the API have them."""

from tests.api.conftest import engine, loaders, make_settings, sqlite_client

__all__ = ["engine", "loaders", "make_settings", "sqlite_client"]
