"""An asyncio program with connections of both kinds, which sends back what it gets: it listens on a port of the
kernel's choice, connects to the port that is named, and prints its own."""

import asyncio
import sys


async def echo(reader, writer):
    while data := await reader.read(1000):
        writer.write(data)
        await writer.drain()


async def main():
    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    ends = await asyncio.open_connection("127.0.0.1", int(sys.argv[1]))
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.gather(echo(*ends), server.serve_forever())


asyncio.run(main())
