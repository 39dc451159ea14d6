/**
 * A Bot that lays a ServiceRequest into the mailbox of the agent: a Task, which the agent takes when it is there.
 *
 * The server keeps the Task, so the order is not forgotten while the agent is away, and the Task tells what became of it.
 */
import { ContentType, type BotEvent, type MedplumClient } from '@medplum/core';
import type { ServiceRequest, Task } from '@medplum/fhirtypes';
import { readOrder } from './order';
import { messageName, orderMessage, type Order } from './order-message';

export async function handler(medplum: MedplumClient, event: BotEvent<ServiceRequest>): Promise<string> {
  const order = await readOrder(medplum, event.input);
  if ('because' in order) {
    return order.because;
  }
  const name = messageName(order.request);
  // Of one message there is one Task, however often the Bot is run.
  const task = await medplum.createResourceIfNoneExist(taskOf(order, name), `identifier=${NAMES}|${name}`);
  return `ServiceRequest/${order.request.id} waits for the agent in Task/${task.id}`;
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
