"""What a picture's file says beside its pixels: how its colours are meant, and that and by what it was painted.

Nothing else, and nothing of the pictures it was made from.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from functools import cache
from html import escape
from typing import Any, Final

from PIL import ImageCms
from PIL.PngImagePlugin import PngInfo

from stylequeue.contract.objects import ImageFormat

_DATE: Final = slice(24, 36)
"""Where a profile says when it was made (ICC.1:2022, 7.2)."""
_MADE: Final = struct.pack(">6H", 2000, 1, 1, 0, 0, 0)
_PNG_KEYWORD: Final = "XML:com.adobe.xmp"
_PACKET: Final = """<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
<rdf:Description rdf:about="" xmlns:dc="http://purl.org/dc/elements/1.1/" xmlns:xmp="http://ns.adobe.com/xap/1.0/"
 xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/">
<dc:identifier>stylequeue:{fingerprint}</dc:identifier>
<xmp:CreatorTool>stylequeue</xmp:CreatorTool>
<Iptc4xmpExt:DigitalSourceType>http://cv.iptc.org/newscodes/digitalsourcetype/compositeWithTrainedAlgorithmicMedia\
</Iptc4xmpExt:DigitalSourceType>
<Iptc4xmpExt:AISystemUsed>stylequeue, {method} by {network}</Iptc4xmpExt:AISystemUsed>
<Iptc4xmpExt:AISystemVersionUsed>engine {engine_version}</Iptc4xmpExt:AISystemVersionUsed>
</rdf:Description></rdf:RDF></x:xmpmeta>
<?xpacket end="r"?>"""


@dataclass(frozen=True)
class Provenance:
    """By what a picture was painted: no more than its fingerprint stands for, so that one says one thing."""

    fingerprint: str
    method: str
    """Of the recipe, with its preset."""
    network: str
    engine_version: str

    def xmp(self) -> bytes:
        """As an XMP packet (ISO 16684-1), by the IPTC's Photo Metadata Standard 2025.1."""
        return _PACKET.format(**{name: escape(value, quote=False) for name, value in vars(self).items()}).encode()


def saved_with(image_format: ImageFormat, provenance: Provenance | None) -> dict[str, Any]:
    """What Pillow's `save` is told, so that a file of sRGB says so, and what it was painted by where that is given."""
    said: dict[str, Any] = {"icc_profile": srgb_profile()}
    if provenance is None:
        return said
    if image_format != "png":
        return {**said, "xmp": provenance.xmp()}
    chunks = PngInfo()
    chunks.add_itxt(_PNG_KEYWORD, provenance.xmp().decode())
    return {**said, "pnginfo": chunks}


@cache
def srgb_profile() -> bytes:
    """The ICC profile of sRGB, the same bytes whenever it is made."""
    made = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    made[_DATE] = _MADE
    return bytes(made)
