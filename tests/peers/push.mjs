// Pushes one message to a device with the published Medplum client, as a Bot would.
//
//   node push.mjs '{"baseUrl", "clientId", "clientSecret", "agent", "device", "body", "wait", "options"}'
//
// Prints what pushToAgent resolved to, or rejected with, as one line of JSON:
// {"answer": …} or {"refusal": "the outcome's text"}.

import { MedplumClient, normalizeErrorString } from '@medplum/core';

const { baseUrl, clientId, clientSecret, agent, device, body, wait, options } = JSON.parse(process.argv[2]);

const medplum = new MedplumClient({ baseUrl, fetch });
await medplum.startClientLogin(clientId, clientSecret);
const say = (what) => console.log(JSON.stringify(what));
await medplum
  .pushToAgent(
    { reference: `Agent/${agent}` },
    { reference: `Device/${device}` },
    body,
    'x-application/hl7-v2+er7',
    wait,
    { maxRetries: 0, ...options },
  )
  .then((answer) => say({ answer }), (error) => say({ refusal: normalizeErrorString(error) }));
