/**
 * A Bot that lays a ServiceRequest into the mailbox of the agent: a Task, which the agent takes when it is there.
 *
 * The server keeps the Task, so the order is not forgotten while the agent is away, and the Task tells what became of it.
 */
import { ContentType, normalizeErrorString, type BotEvent, type MedplumClient } from '@medplum/core';
import type { ServiceRequest, Task } from '@medplum/fhirtypes';
import { readOrder } from './order';
import { messageName, orderMessage, type Order } from './order-message';
import { say, type Said } from './said';
import { AGENT } from './site';

export async function handler(medplum: MedplumClient, event: BotEvent<ServiceRequest>): Promise<Said> {
  const order = await readOrder(medplum, event.input);
  if ('because' in order) {
    return say(order.because);
  }
  const name = messageName(order.request);
  // Of one message there is one Task, however often the Bot is run.
  const task = await medplum.createResourceIfNoneExist(taskOf(order, name), `identifier=${NAMES}|${name}`);
  await nudge(medplum);
  return say(`ServiceRequest/${order.request.id} waits for the agent in Task/${task.id}`);
}

/**
 * Has the agent look at once, and not within a minute. A nudge that is lost does no harm: the agent looks when it is back.
 */
async function nudge(medplum: MedplumClient): Promise<void> {
  const agent = await medplum.searchOne('Agent', { identifier: AGENT });
  const itself = await medplum.searchOne('Device', { url: 'device://self' });
  if (agent && itself) {
    await medplum
      .pushToAgent(agent, itself, JSON.stringify({ verb: 'poll' }), 'application/vnd.wardpost.command+json')
      .catch((error) => console.log(`The agent is not nudged: ${normalizeErrorString(error)}`));
  }
}

function taskOf(order: Order, name: string): Task {
  const { request, device } = order;
  return {
    resourceType: 'Task',
    identifier: [{ system: NAMES, value: name }],
    status: 'requested',
    intent: 'order',
    code: { coding: [{ code: 'wardpost-push' }] },
    priority: request.priority,
    // The agent takes the Tasks of a device in this order.
    authoredOn: request.meta?.lastUpdated,
    for: request.subject,
    focus: { reference: `ServiceRequest/${request.id}` },
    owner: { reference: `Device/${device.id}` },
    input: [
      { type: { text: 'payload' }, valueString: orderMessage(order) },
      { type: { text: 'contentType' }, valueString: ContentType.HL7_V2 },
    ],
  };
}

const NAMES = 'https://example.org/lab-order';
