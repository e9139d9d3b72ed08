"""Python's http.client and httpx against an edge. Arguments: cleartext URL, TLS URL, CA file."""

import asyncio
import http.client
import ssl
import sys
from urllib.parse import urlsplit

import httpx

MEBIBYTE = b"m" * (1 << 20)


def standard(base, authority):
    place = urlsplit(base)
    if place.scheme == "https":
        context = ssl.create_default_context(cafile=authority)
        connection = http.client.HTTPSConnection(place.hostname, place.port, context=context, timeout=120)
    else:
        connection = http.client.HTTPConnection(place.hostname, place.port, timeout=120)

    def ask(method, path, **more):
        connection.request(method, path, **more)
        response = connection.getresponse()
        return response.status, response.read()

    connection.connect()
    first = connection.sock
    for n in range(50):
        assert ask("GET", f"/page?n={n}") == (200, b"origin eu\n")
    assert connection.sock is first, "fifty requests share a connection"
    assert ask("POST", "/echo", body=MEBIBYTE) == (200, MEBIBYTE)
    pieces = (bytes([97 + n % 26]) * 1000 for n in range(100))
    status, body = ask("PUT", "/echo", body=pieces, encode_chunked=True, headers={"Transfer-Encoding": "chunked"})
    assert (status, len(body)) == (200, 100_000), "a body in chunks"
    assert ask("HEAD", "/") == (200, b"")
    assert ask("GET", "/chunked") == (200, b"origin eu\n")
    assert ask("DELETE", "/status/404")[0] == 404
    assert connection.sock is first


def modern(base, authority, http1, http2, version):
    context = ssl.create_default_context(cafile=authority)
    with httpx.Client(base_url=base, verify=context, http1=http1, http2=http2, timeout=120) as client:
        page = client.get("/page")
        assert (page.text, page.http_version) == ("origin eu\n", version), page.http_version
        assert client.post("/echo", content=MEBIBYTE).content == MEBIBYTE
        assert len(client.post("/echo", content=(b"x" * 1000 for _ in range(100))).content) == 100_000
        with client.stream("GET", "/big/3000000") as response:
            assert sum(len(part) for part in response.iter_bytes()) == 3_000_000
    asyncio.run(together(base, context, http1, http2))


async def together(base, context, http1, http2):
    limits = httpx.Limits(max_connections=10)
    async with httpx.AsyncClient(base_url=base, verify=context, http1=http1, http2=http2, limits=limits, timeout=120) as client:
        answers = await asyncio.gather(*(client.get(f"/page?n={n}") for n in range(100)))
    assert [answer.status_code for answer in answers] == [200] * 100


clear, tls, authority = sys.argv[1:]
standard(clear, authority)
print("passed: http.client")
standard(tls, authority)
print("passed: http.client over TLS")
modern(clear, authority, True, False, "HTTP/1.1")
print("passed: httpx")
modern(clear, authority, False, True, "HTTP/2")
print("passed: httpx, HTTP/2 with prior knowledge")
modern(tls, authority, True, True, "HTTP/2")
print("passed: httpx, HTTP/2 over TLS")
