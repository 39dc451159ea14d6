/**
 * What a version of a ServiceRequest means for an instrument: an order with all that belongs to it, or nothing.
 */
import type { MedplumClient } from '@medplum/core';
import type { Device, Patient, Reference, ServiceRequest } from '@medplum/fhirtypes';
import { specimenNumber, type Change, type Order } from './order-message';

/** There is nothing to send, and that is as it should be. */
export interface Nothing {
  because: string;
}

/** Reads what belongs to the order. Throws a sentence where there should be an order and cannot be one. */
export async function readOrder(medplum: MedplumClient, request: ServiceRequest): Promise<Order | Nothing> {
  if (request?.resourceType !== 'ServiceRequest') {
    throw new Error('This Bot takes a ServiceRequest, as its Subscription gives it');
  }
  const name = `ServiceRequest/${request.id}`;
  const instrument = request.performer?.find((one) => isA<Device>('Device', one));
  if (!instrument) {
    return { because: `${name} is not for an instrument: no Device is among its performers` };
  }
  const change = await changeOf(medplum, request);
  if (typeof change !== 'string') {
    return { because: `${name} ${change.because}` };
  }
  return { request, change, ...(await readParts(medplum, name, request)), device: await medplum.readReference(instrument) };
}

/** What this version does to what the instrument was told before. */
async function changeOf(medplum: MedplumClient, request: ServiceRequest): Promise<Change | Nothing> {
  const history = await medplum.readHistory('ServiceRequest', request.id as string);
  const versions = (history.entry ?? []).flatMap(({ resource }) => resource ?? []);
  const [newest, ...older] = versions;
  if (newest?.meta?.versionId !== request.meta?.versionId) {
    // An old version after a new one would undo it. The new one has a trigger of its own.
    return { because: 'has a newer version' };
  }
  const before = older.some(isOrdered);
  if (isOrdered(request)) {
    return before ? 'changed' : 'new';
  }
  if (request.status === 'revoked' || request.status === 'entered-in-error') {
    return before ? 'cancelled' : { because: 'was withdrawn before it was ordered' };
  }
  return { because: `is ${request.status} with the intent ${request.intent}: nothing is ordered` };
}

function isOrdered({ status, intent }: ServiceRequest): boolean {
  return status === 'active' && intent.endsWith('order');
}

async function readParts(
  medplum: MedplumClient,
  name: string,
  { code, subject, specimen: tubes }: ServiceRequest
): Promise<Pick<Order, 'patient' | 'specimens'>> {
  if (!code?.coding?.some((coding) => coding.code)) {
    throw new Error(`${name} has no code: what is to be measured?`);
  }
  if (!isA<Patient>('Patient', subject)) {
    throw new Error(`${name} has no Patient as its subject: whose is it?`);
  }
  if (!tubes?.length) {
    throw new Error(`${name} has no Specimen: which tube is it?`);
  }
  const patient = await medplum.readReference(subject);
  const specimens = await Promise.all(tubes.map((tube) => medplum.readReference(tube)));
  const unmarked = specimens.find((specimen) => !specimenNumber(specimen));
  if (unmarked) {
    throw new Error(`Specimen/${unmarked.id} of ${name} has no identifier: what is written on the tube?`);
  }
  return { patient, specimens };
}

function isA<T extends Device | Patient>(type: T['resourceType'], reference?: Reference): reference is Reference<T> {
  return reference?.reference?.startsWith(`${type}/`) ?? false;
}
