"""The floor: aiohttp.web with TLS and no work behind it; prints its port."""

from __future__ import annotations

import asyncio
import ssl
import sys

import orjson
from aiohttp import web


async def main(folder: str) -> None:
    """Answer POST with the parsed body, GET of /one with a pod's size and of /list with 300 of them."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(f"{folder}/apiserver.crt", f"{folder}/apiserver.key")
    one = orjson.dumps({"pad": "x" * 1800})
    many = b'{"items":[' + b",".join([one] * 300) + b"]}"

    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        if request.method == "POST":
            return web.Response(body=orjson.dumps(orjson.loads(await request.read())), status=201)
        return web.Response(body=many if request.path == "/list" else one)

    runner = web.ServerRunner(web.Server(handle, access_log=None))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
    print(runner.addresses[0][1], flush=True)
    await asyncio.get_running_loop().create_future()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
