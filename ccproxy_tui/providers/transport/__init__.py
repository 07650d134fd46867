"""A lean HTTP/1.1 transport for httpx: one asyncio protocol around httptools, whole socket reads as one chunk.

httpx's own transport walks through six layers for every chunk of a chunked answer; a token stream has one chunk a
token. This one joins all chunks of a socket read, pauses the socket when its reader is slow, and closes a connection
the moment its answer is dropped. Behind a forward proxy the connections are httpx's own (`ForwardTransport`).
"""

from ccproxy_tui.providers.transport.forward import ForwardTransport
from ccproxy_tui.providers.transport.pool import LeanTransport

__all__ = ["ForwardTransport", "LeanTransport"]
