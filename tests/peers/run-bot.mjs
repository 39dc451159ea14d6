// Runs a compiled Bot as a Medplum server with `vmcontext` does: its text in a context of its own, with the published
// client logged in, and then `exports.handler`.
//
//   node run-bot.mjs '{"baseUrl", "clientId", "clientSecret", "code": PATH, "input": RESOURCE}'
//
// Prints {"returned": …} or {"thrown": "the error's text"} as the last line, in JSON; the Bot may print lines before.

import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { createContext, Script } from 'node:vm';
import { ContentType, Hl7Message, MedplumClient, normalizeErrorString } from '@medplum/core';

const { baseUrl, clientId, clientSecret, code, input } = JSON.parse(process.argv[2]);

const medplum = new MedplumClient({ baseUrl, fetch });
await medplum.startClientLogin(clientId, clientSecret);
const event = { bot: { reference: 'Bot/1' }, contentType: ContentType.FHIR_JSON, input, secrets: {} };

const exported = {};
const world = {
  exports: exported,
  module: { exports: exported },
  require: createRequire(import.meta.url),
  fetch,
  console,
  MedplumClient,
  Hl7Message,
  ContentType,
  TextEncoder,
  TextDecoder,
  URL,
  given: { medplum, event },
};
const text = `${readFileSync(code, 'utf8')}\n(async () => exports.handler(given.medplum, given.event))()`;
const say = (what) => console.log(JSON.stringify(what));
await new Script(text, { filename: 'bot.js' })
  .runInContext(createContext(world))
  .then((returned) => say({ returned }), (error) => say({ thrown: normalizeErrorString(error) }));
