"""A device that speaks HL7 with python-hl7's asyncio server.

    python hl7_server.py

Prints `listening on 127.0.0.1:PORT`, then one line of JSON for each message as the library read it, and answers AA.
"""

import asyncio
import json
import warnings

from hl7.mllp import start_hl7_server

# The library makes its acknowledgement's time in a way that newer Pythons warn of.
warnings.simplefilter("ignore", DeprecationWarning)


def read(message):
    return {
        "controlId": str(message.segment("MSH")(10)),
        "patient": str(message.segment("PID")(5)),
        "order": str(message.segment("ORC")(2)),
        "test": str(message.segment("OBR")(4)),
    }


async def serve(reader, writer):
    while True:
        try:
            message = await reader.readmessage()
        except (asyncio.IncompleteReadError, ConnectionResetError):
            break
        print(json.dumps(read(message)), flush=True)
        writer.writemessage(message.create_ack("AA"))
        await writer.drain()
    writer.close()


async def main():
    server = await start_hl7_server(serve, "127.0.0.1", 0, encoding="utf-8")
    host, port = server.sockets[0].getsockname()
    print(f"listening on {host}:{port}", flush=True)
    await server.serve_forever()


asyncio.run(main())
