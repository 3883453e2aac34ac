"""XMP packets in the shapes in which programs write them, and in all those in which RDF may be written. Made up by hand."""

import re
from html import escape

from lxml import etree

RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
BEGIN = '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>'
NAMES = (
    'xmlns:dc="http://purl.org/dc/elements/1.1/" xmlns:lr="http://ns.adobe.com/lightroom/1.0/" '
    'xmlns:digiKam="http://www.digikam.org/ns/1.0/" xmlns:xmp="http://ns.adobe.com/xap/1.0/"'
)

DIGIKAM = """<?xml version="1.0" encoding="UTF-8"?>
<?xpacket begin="" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/" x:xmptk="XMP Core 4.4.0-Exiv2">
 <rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
  <rdf:Description rdf:about=""
    xmlns:xmp="http://ns.adobe.com/xap/1.0/"
    xmlns:digiKam="http://www.digikam.org/ns/1.0/"
    xmlns:MicrosoftPhoto="http://ns.microsoft.com/photo/1.0/"
    xmlns:lr="http://ns.adobe.com/lightroom/1.0/"
    xmlns:mediapro="http://ns.iview-multimedia.com/mediapro/1.0/"
    xmlns:acdsee="http://ns.acdsee.com/iptc/1.0/"
    xmlns:dc="http://purl.org/dc/elements/1.1/"
   xmp:Rating="4"
   acdsee:categories="CATEGORIES"
   digiKam:PickLabel="0">
   <digiKam:TagsList>
    <rdf:Seq>
     <rdf:li>People/Anna</rdf:li>
     <rdf:li>Café</rdf:li>
    </rdf:Seq>
   </digiKam:TagsList>
   <MicrosoftPhoto:LastKeywordXMP>
    <rdf:Bag>
     <rdf:li>People/Anna</rdf:li>
     <rdf:li>Café</rdf:li>
    </rdf:Bag>
   </MicrosoftPhoto:LastKeywordXMP>
   <lr:hierarchicalSubject>
    <rdf:Bag>
     <rdf:li>People|Anna</rdf:li>
     <rdf:li>Café</rdf:li>
    </rdf:Bag>
   </lr:hierarchicalSubject>
   <mediapro:CatalogSets>
    <rdf:Bag>
     <rdf:li>People|Anna</rdf:li>
     <rdf:li>Café</rdf:li>
    </rdf:Bag>
   </mediapro:CatalogSets>
   <dc:subject>
    <rdf:Bag>
     <rdf:li>Anna</rdf:li>
     <rdf:li>Café</rdf:li>
    </rdf:Bag>
   </dc:subject>
  </rdf:Description>
 </rdf:RDF>
</x:xmpmeta>
<?xpacket end="w"?>"""
CATEGORIES = '<Categories><Category Assigned="0">People<Category Assigned="1">Anna</Category></Category></Categories>'
DIGIKAM = DIGIKAM.replace("CATEGORIES", escape(CATEGORIES, quote=True))

DARKTABLE = """<?xml version="1.0" encoding="UTF-8"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/" x:xmptk="XMP Core 4.4.0-Exiv2">
 <rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
  <rdf:Description rdf:about=""
    xmlns:exif="http://ns.adobe.com/exif/1.0/"
    xmlns:xmp="http://ns.adobe.com/xap/1.0/"
    xmlns:darktable="http://darktable.sf.net/"
    xmlns:dc="http://purl.org/dc/elements/1.1/"
    xmlns:lr="http://ns.adobe.com/lightroom/1.0/"
   exif:DateTimeOriginal="2024:05:01 10:11:12.000"
   xmp:Rating="1"
   darktable:xmp_version="5"
   darktable:raw_params="0"
   darktable:auto_presets_applied="1">
   <darktable:masks_history>
    <rdf:Seq/>
   </darktable:masks_history>
   <darktable:history>
    <rdf:Seq>
     <rdf:li
      darktable:num="0"
      darktable:operation="exposure"
      darktable:enabled="1"
      darktable:modversion="6"
      darktable:params="0000000000000000cdcccc3e00004842000080c0"
      darktable:multi_name=""
      darktable:blendop_params="gz11eJxjYGBgkGAAgRNODGiAEV0AJ2iwh&gt;=="/>
    </rdf:Seq>
   </darktable:history>
   <dc:subject>
    <rdf:Bag>
     <rdf:li>darktable</rdf:li>
     <rdf:li>format</rdf:li>
     <rdf:li>jpg</rdf:li>
     <rdf:li>places</rdf:li>
     <rdf:li>Zürich</rdf:li>
    </rdf:Bag>
   </dc:subject>
   <lr:hierarchicalSubject>
    <rdf:Bag>
     <rdf:li>darktable|format|jpg</rdf:li>
     <rdf:li>places|Zürich</rdf:li>
    </rdf:Bag>
   </lr:hierarchicalSubject>
  </rdf:Description>
 </rdf:RDF>
</x:xmpmeta>
"""

LIGHTROOM = (
    """<x:xmpmeta xmlns:x="adobe:ns:meta/" x:xmptk="Adobe XMP Core 7.0-c000 1.000000, 0000/00/00-00:00:00        ">
 <rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
  <rdf:Description rdf:about=""
    xmlns:xmp="http://ns.adobe.com/xap/1.0/"
    xmlns:crs="http://ns.adobe.com/camera-raw-settings/1.0/"
    xmlns:xmpMM="http://ns.adobe.com/xap/1.0/mm/"
    xmlns:stEvt="http://ns.adobe.com/xap/1.0/sType/ResourceEvent#"
    xmlns:dc="http://purl.org/dc/elements/1.1/"
    xmlns:lr="http://ns.adobe.com/lightroom/1.0/"
   xmp:CreatorTool="Adobe Photoshop Lightroom Classic 12.0 (Macintosh)"
   crs:Exposure2012="+0.50"
   crs:ToneCurveName2012="Linear"
   xmpMM:DocumentID="xmp.did:0f0e0d">
   <dc:subject>
    <rdf:Bag>
     <rdf:li>Beach</rdf:li>
     <rdf:li>Dog</rdf:li>
     <rdf:li>Pets</rdf:li>
    </rdf:Bag>
   </dc:subject>
   <lr:hierarchicalSubject>
    <rdf:Bag>
     <rdf:li>Beach</rdf:li>
     <rdf:li>Pets|Dog</rdf:li>
    </rdf:Bag>
   </lr:hierarchicalSubject>
   <xmpMM:History>
    <rdf:Seq>
     <rdf:li stEvt:action="saved" stEvt:changed="/metadata"/>
    </rdf:Seq>
   </xmpMM:History>
  </rdf:Description>
 </rdf:RDF>
</x:xmpmeta>
"""
    + (" " * 99 + "\n") * 3
)

EXIFTOOL = """<?xpacket begin='\ufeff' id='W5M0MpCehiHzreSzNTczkc9d'?>
<x:xmpmeta xmlns:x='adobe:ns:meta/' x:xmptk='Image::ExifTool 12.57'>
<rdf:RDF xmlns:rdf='http://www.w3.org/1999/02/22-rdf-syntax-ns#'>

 <rdf:Description rdf:about=''
  xmlns:dc='http://purl.org/dc/elements/1.1/'>
  <dc:description>
   <rdf:Alt>
    <rdf:li xml:lang='x-default'>At the lake, 5 &gt; 4</rdf:li>
   </rdf:Alt>
  </dc:description>
 </rdf:Description>

 <rdf:Description rdf:about=''
  xmlns:digiKam='http://www.digikam.org/ns/1.0/'>
  <digiKam:TagsList>
   <rdf:Seq>
    <rdf:li>Holidays/2024</rdf:li>
   </rdf:Seq>
  </digiKam:TagsList>
 </rdf:Description>
</rdf:RDF>
</x:xmpmeta>
<?xpacket end='w'?>"""


def wrap(fields, attributes="", rdf=f'xmlns:rdf="{RDF}"'):
    """A packet on one line."""
    body = f'<rdf:Description rdf:about="" {NAMES}{attributes}>{fields}</rdf:Description>'
    meta = f'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF {rdf}>{body}</rdf:RDF></x:xmpmeta>'
    return f'{BEGIN}{meta}<?xpacket end="w"?>'


def bag(field, *words, kind="Bag"):
    return f"<{field}><rdf:{kind}>{''.join(f'<rdf:li>{word}</rdf:li>' for word in words)}</rdf:{kind}></{field}>"


SUBJECT = bag("dc:subject", "Anna", "Beach")
PLAIN = "<dc:subject>Anna</dc:subject>"
ABOUT = 'rdf:about="uuid:1"'

TEXTS = {
    "digikam": DIGIKAM,
    "darktable": DARKTABLE,
    "lightroom": LIGHTROOM,
    "exiftool": EXIFTOOL,
    "one line": wrap(SUBJECT),
    "line breaks of Windows": DIGIKAM.replace("\n", "\r\n"),
    "no wrapper": wrap(SUBJECT).removeprefix(BEGIN).removesuffix('<?xpacket end="w"?>'),
    "no x:xmpmeta": f'<rdf:RDF xmlns:rdf="{RDF}"><rdf:Description {NAMES}>{SUBJECT}</rdf:Description></rdf:RDF>',
    "another root prefix": wrap(SUBJECT).replace("x:xmpmeta xmlns:x", "y:xmpmeta xmlns:y").replace("</x:", "</y:"),
    "nothing in it": wrap(""),
    "no description": f'<x:xmpmeta xmlns:x="adobe:ns:meta/">\n <rdf:RDF xmlns:rdf="{RDF}"></rdf:RDF>\n</x:xmpmeta>',
    "empty RDF": f'<x:xmpmeta xmlns:x="adobe:ns:meta/">\n <rdf:RDF xmlns:rdf="{RDF}" />\n</x:xmpmeta>',
    "no RDF": '<x:xmpmeta xmlns:x="adobe:ns:meta/"></x:xmpmeta>',
    "empty root": '<x:xmpmeta xmlns:x="adobe:ns:meta/"/>',
    "empty description": f'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="{RDF}"><rdf:Description rdf:about=""/>'
    "</rdf:RDF></x:xmpmeta>",
    "empty list": wrap("<dc:subject><rdf:Bag/></dc:subject>"),
    "empty list of two tags": wrap("<dc:subject><rdf:Bag>\n</rdf:Bag></dc:subject>"),
    "empty property": wrap("<dc:subject/>"),
    "property with a space": wrap("<dc:subject> </dc:subject>"),
    "sequence": wrap(bag("dc:subject", "Anna", kind="Seq")),
    "alternatives": wrap(bag("dc:subject", "Anna", kind="Alt")),
    "plain text": wrap(PLAIN),
    "several in one text": wrap("<dc:subject>Anna; Beach</dc:subject>"),
    "several in one entry": wrap(bag("dc:subject", "Anna; Beach", "Lake")),
    "attribute": wrap("", ' dc:subject="Anna &amp; &quot;Bo&quot;"'),
    "empty attribute": wrap("", " dc:subject=''"),
    "language": wrap('<dc:subject xml:lang="de"><rdf:Bag><rdf:li xml:lang="de">Hündin</rdf:li></rdf:Bag></dc:subject>'),
    "language of a text": wrap('<dc:subject xml:lang="de">Hündin</dc:subject>'),
    "qualified entry": wrap(
        '<dc:subject><rdf:Bag><rdf:li rdf:parseType="Resource"><rdf:value>Anna</rdf:value><xmp:Nickname>A</xmp:Nickname>'
        "</rdf:li><rdf:li><rdf:Description><rdf:value>Bo</rdf:value></rdf:Description></rdf:li></rdf:Bag></dc:subject>"
    ),
    "qualified list": wrap(
        "<dc:subject><rdf:Description><rdf:value><rdf:Bag><rdf:li>Anna</rdf:li></rdf:Bag></rdf:value>"
        "<xmp:Nickname>A</xmp:Nickname></rdf:Description></dc:subject>"
    ),
    "split": f'<x:xmpmeta xmlns:x="adobe:ns:meta/" {NAMES}><rdf:RDF xmlns:rdf="{RDF}"><rdf:Description {ABOUT}>{SUBJECT}'
    f'</rdf:Description><rdf:Description {ABOUT} xmp:Rating="3"/><rdf:Description {ABOUT}>'
    f"{bag('lr:hierarchicalSubject', 'People|Anna')}</rdf:Description></rdf:RDF></x:xmpmeta>",
    "other prefixes": wrap(SUBJECT)
    .replace("rdf:", "r:")
    .replace("xmlns:rdf", "xmlns:r")
    .replace("dc:", "d:")
    .replace("xmlns:dc", "xmlns:d"),
    "RDF by default": f'<RDF xmlns="{RDF}" xmlns:r="{RDF}"><Description r:about="" xmlns:dc="http://purl.org/dc/elements/1.1/">'
    "<dc:subject><Bag><li>Anna</li></Bag></dc:subject></Description></RDF>",
    "comments and instructions": wrap(
        "<!-- <dc:subject> --><?keep <this> ?><dc:subject><rdf:Bag><!-- > --><rdf:li>An<!-- ! -->na</rdf:li>"
        "<!-- last --></rdf:Bag></dc:subject><?end?>"
    ),
    "CDATA and references": wrap(bag("dc:subject", "<![CDATA[Rock & <Roll>]]>", "&#x41;C&amp;DC", "&lt;b&gt;")),
    "odd spacing": wrap(
        "<dc:subject ><rdf:Bag\n><rdf:li\t>Anna</rdf:li  ></rdf:Bag ></dc:subject >", "\n  xmp:Label = 'a>b/>'\t"
    ),
    "unknown things": wrap(
        '<my:own xmlns:my="urn:me" my:n="1"><my:deep xml:space="preserve">  <my:er/> </my:deep></my:own>' + SUBJECT,
        ' xmlns:your="urn:you" your:attribute="&#10;"',
    ),
    "ingredients": wrap(
        '<xmpMM:Pantry xmlns:xmpMM="http://ns.adobe.com/xap/1.0/mm/"><rdf:Bag><rdf:li><rdf:Description>'
        f"{bag('dc:subject', 'of another picture')}</rdf:Description></rdf:li></rdf:Bag></xmpMM:Pantry>"
    ),
    "padding": wrap(SUBJECT).replace("<?xpacket end", "\n" + " " * 2000 + "\n<?xpacket end"),
    "bytes of padding": "\0\n" + wrap(SUBJECT) + "\0\0\0",
}
PACKETS = {name: text.encode() for name, text in TEXTS.items()}
PACKETS |= {
    "UTF-8 with mark": b"\xef\xbb\xbf" + DIGIKAM.encode(),
    "UTF-16": DIGIKAM.replace('"UTF-8"', '"UTF-16"').encode("utf-16"),
    "UTF-16 little": b"\xff\xfe" + wrap(SUBJECT).encode("utf-16-le"),
    "UTF-16 big": b"\xfe\xff" + LIGHTROOM.encode("utf-16-be"),
    "UTF-16 without mark": LIGHTROOM.encode("utf-16-le"),
    "UTF-32": b"\xff\xfe\0\0" + wrap(SUBJECT).encode("utf-32-le"),
    "Latin-1": DARKTABLE.replace("UTF-8", "ISO-8859-1").encode("latin-1"),
}
"""By what is special about them."""


def without(packet, word):
    """As a program writes it in which a person took a keyword away."""
    root = etree.fromstring(packet)
    for item in list(root.iter(f"{{{RDF}}}li")):
        if "cocotag" not in item.getparent().getparent().tag and re.split(r"[|/]", item.text)[-1] == word:
            item.getparent().remove(item)
    return etree.tostring(root, encoding="utf-8")
