// Makes calls of the published Medplum client, one after the other.
//
//   node client.mjs '{"baseUrl", "clientId", "clientSecret", "calls": [[METHOD, ARGUMENT, …], …]}'
//
// Prints one line of JSON for each: {"answer": …} or {"refusal": "the outcome's text"}.

import { MedplumClient, normalizeErrorString } from '@medplum/core';

const { baseUrl, clientId, clientSecret, calls } = JSON.parse(process.argv[2]);

const medplum = new MedplumClient({ baseUrl, fetch });
await medplum.startClientLogin(clientId, clientSecret);
const say = (what) => console.log(JSON.stringify(what));
for (const [method, ...args] of calls) {
  await medplum[method](...args).then(
    (answer) => say({ answer }),
    (error) => say({ refusal: normalizeErrorString(error) })
  );
}
