"""A device that speaks HL7 with python-hl7's asyncio server.

    python hl7_server.py [CERTIFICATE KEY [CLIENTS]]

Prints `listening on 127.0.0.1:PORT`, then one line of JSON for each message as the library read it, and answers AA.
With a certificate and its key (PEM) it speaks TLS; with CLIENTS (PEM) it demands a certificate that one of these has signed.
"""

import asyncio
import json
import ssl
import sys
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


def tls(files):
    if not files:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(*files[:2])
    for clients in files[2:]:
        context.load_verify_locations(clients)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


async def main():
    server = await start_hl7_server(serve, "127.0.0.1", 0, encoding="utf-8", ssl=tls(sys.argv[1:]))
    host, port = server.sockets[0].getsockname()
    print(f"listening on {host}:{port}", flush=True)
    await server.serve_forever()


asyncio.run(main())
