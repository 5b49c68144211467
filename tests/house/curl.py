"""Stands in for curl on machines without it, as far as the pages use it: `python curl.py [options] URL`."""

import argparse
import http.client
import sys
from pathlib import Path
from urllib.parse import quote, urlsplit


def main() -> int:
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument("url")
    parser.add_argument("-s", "--silent", action="store_true")
    parser.add_argument("-N", "--no-buffer", action="store_true")
    parser.add_argument("-g", "--globoff", action="store_true")
    parser.add_argument("-G", "--get", action="store_true")
    parser.add_argument("-i", "--include", action="store_true")
    parser.add_argument("-I", "--head", action="store_true")
    parser.add_argument("-X", "--request")
    parser.add_argument("-o", "--output", type=Path)
    parser.add_argument("-H", "--header", action="append", default=[])
    parser.add_argument("-d", "--data")
    parser.add_argument("--data-urlencode", action="append", default=[])
    parser.add_argument("--etag-save", type=Path)
    parser.add_argument("--etag-compare", type=Path)
    given = parser.parse_args()
    parts = urlsplit(given.url)
    pairs = [pair.partition("=") for pair in given.data_urlencode]
    query = "&".join([*filter(None, [parts.query]), *(f"{name}={quote(value, safe='')}" for name, _, value in pairs)])
    body = given.data
    headers = {name: value.strip() for name, _, value in (header.partition(":") for header in given.header)}
    if body is not None and "content-type" not in {name.lower() for name in headers}:
        headers["Content-Type"] = "application/x-www-form-urlencoded"
    if given.etag_compare and given.etag_compare.exists():
        headers["If-None-Match"] = given.etag_compare.read_text().strip()
    method = given.request or ("HEAD" if given.head else "POST" if body is not None else "GET")
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port)
    path = quote(parts.path, safe="/$%") + (f"?{quote(query, safe='=&%,-_.~+')}" if query else "")
    connection.request(method, path, body.encode() if body is not None else None, headers)
    reply = connection.getresponse()
    content = reply.read()
    # As the real one is told to do by `.curlrc`.
    print(f"status {reply.status}", file=sys.stderr)
    if given.etag_save:
        given.etag_save.write_text(f"{reply.headers.get('etag', '')}\n")
    if given.include or given.head:
        head = "".join(f"{name}: {value}\r\n" for name, value in reply.headers.items())
        sys.stdout.write(f"HTTP/1.1 {reply.status} {reply.reason}\r\n{head}\r\n")
    if given.output:
        given.output.write_bytes(content)
    else:
        sys.stdout.write(content.decode())
    return 0


if __name__ == "__main__":
    sys.exit(main())
