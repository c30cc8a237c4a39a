"""An asyncio program with a connected and an accepted connection, on which it echoes: it listens on a port that the
kernel chooses, connects to the given port, and prints its own."""

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
