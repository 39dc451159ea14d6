// A device that speaks HL7 with Medplum's own library.
//
//   node hl7-server.mjs [enhanced]
//
// Prints `listening on 127.0.0.1:PORT`, then one line of JSON for each message as the library read it.
// Plain, it answers AA. Enhanced, the library says CA at once, and AA follows.

import { Hl7Server } from '@medplum/hl7';

const fields = (message, segment, ...places) => places.map((place) => message.getSegment(segment)?.getField(place)?.toString());

const server = new Hl7Server((connection) => {
  connection.addEventListener('message', ({ message }) => {
    const [controlId] = fields(message, 'MSH', 10);
    const [patient] = fields(message, 'PID', 5);
    const [order] = fields(message, 'ORC', 2);
    const [test] = fields(message, 'OBR', 4);
    console.log(JSON.stringify({ controlId, patient, order, test }));
    connection.send(message.buildAck({ ackCode: 'AA' }));
  });
});

// Where a port is wanted, the library hands on whatever node's `listen` takes: here also the address to stay on.
await server.start({ host: '127.0.0.1', port: 0 }, 'utf-8', process.argv[2] === 'enhanced');
console.log(`listening on 127.0.0.1:${server.server.address().port}`);
