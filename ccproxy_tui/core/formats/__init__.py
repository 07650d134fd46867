"""The wire dialects and the conversion between them. Pure: bytes and values in, bytes and values out.

    from ccproxy_tui.core.formats import Misfit, Profile, convert_request

`convert_request` turns a request of one dialect into a request of another and says in its report what was lost;
the `Conversion` that it returns turns the answer back, streamed event by event or whole.
"""

from ccproxy_tui.core.formats.conversion import Conversion, convert_request
from ccproxy_tui.core.formats.misfit import Misfit
from ccproxy_tui.core.formats.names import FORMATS, Format
from ccproxy_tui.core.formats.profile import Profile
from ccproxy_tui.core.formats.report import Note, Report

__all__ = ["FORMATS", "Conversion", "Format", "Misfit", "Note", "Profile", "Report", "convert_request"]
