"""People's own labels as the tests make them: pictures, tables, XMP."""

import numpy as np
from PIL import Image


def picture(path, seed=0, size=(24, 16), **options):
    """A small file of pixels that no other seed has."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), np.uint8)
    Image.fromarray(pixels).save(path, **options)
    return path


def table(path, text, encoding="utf-8"):
    path.write_text(text, encoding=encoding)
    return path


def packet(fields, wrapped=True):
    names = 'xmlns:dc="http://purl.org/dc/elements/1.1/" xmlns:lr="http://ns.adobe.com/lightroom/1.0/"'
    names += ' xmlns:digiKam="http://www.digikam.org/ns/1.0/" xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"'
    body = f"<rdf:RDF {names}><rdf:Description>{fields}</rdf:Description></rdf:RDF>"
    meta = f'<x:xmpmeta xmlns:x="adobe:ns:meta/">{body}</x:xmpmeta>'
    return (f'<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>{meta}<?xpacket end="w"?>' if wrapped else body).encode()


def bag(field, *words, kind="Bag"):
    return f"<{field}><rdf:{kind}>{''.join(f'<rdf:li>{word}</rdf:li>' for word in words)}</rdf:{kind}></{field}>"
