/**
 * A Bot that pushes a ServiceRequest to its instrument at once, and says what the instrument said.
 *
 * Where the agent is away a stock server forgets the push: this Bot throws, and nobody tries again. Where that must not
 * happen, deploy `task-order` instead.
 */
import { ContentType, Hl7Message, type BotEvent, type MedplumClient } from '@medplum/core';
import type { ServiceRequest } from '@medplum/fhirtypes';
import { readOrder } from './order';
import { orderMessage } from './order-message';
import { say, type Said } from './said';
import { AGENT } from './site';

export async function handler(medplum: MedplumClient, event: BotEvent<ServiceRequest>): Promise<Said> {
  const order = await readOrder(medplum, event.input);
  if ('because' in order) {
    return say(order.because);
  }
  const agent = await medplum.searchOne('Agent', { identifier: AGENT });
  if (!agent) {
    throw new Error(`There is no Agent with the identifier ${AGENT}`);
  }
  const answer = await medplum.pushToAgent(agent, order.device, orderMessage(order), ContentType.HL7_V2, true);
  return say(inWords(`ServiceRequest/${order.request.id}`, String(answer)));
}

/** What became of it: the instrument's own words, or `queued: …`, and then the agent goes on without us. */
function inWords(name: string, answer: string): string {
  if (!answer.startsWith('MSH')) {
    return `${name} is ${answer}`;
  }
  const verdict = Hl7Message.parse(answer).getSegment('MSA');
  const code = verdict?.getField(1)?.toString();
  if (code !== 'AA' && code !== 'CA') {
    throw new Error(`The instrument refused ${name}: ${[code, verdict?.getField(3)?.toString()].join(' ').trim()}`);
  }
  return `${name} is with the instrument: ${code}`;
}
