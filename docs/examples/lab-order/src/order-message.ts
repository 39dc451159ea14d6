/**
 * A laboratory order as HL7 v2.5.1: OML^O21^OML_O21 with MSH, PID, ORC, TQ1, OBR, NTE and SPM.
 *
 * It depends on nothing but the resources, so that the same version of an order gives the same bytes, however often and
 * whenever it is asked for.
 */
import type {
  CodeableConcept,
  Device,
  HumanName,
  Identifier,
  Patient,
  ServiceRequest,
  Specimen,
} from '@medplum/fhirtypes';
import { controlId } from './control-id';
import { components, freeText, segment, text, time } from './hl7';

export interface Order {
  /** At the version that is sent. */
  request: ServiceRequest;
  change: Change;
  patient: Patient;
  specimens: Specimen[];
  /** The instrument. */
  device: Device;
}

/** What a version does to the order: ORC-1. */
export type Change = 'new' | 'changed' | 'cancelled';

/** The message, its segments ended by CR. */
export function orderMessage(order: Order): string {
  const { request, specimens } = order;
  const notes = (request.note ?? []).map((note, at) => segment('NTE', { 1: `${at + 1}`, 3: freeText(note.text ?? '') }));
  const segments = [header(order), patientId(order.patient), common(order), timing(request), detail(request), ...notes];
  return [...segments, ...specimens.map(specimen)].map((line) => `${line}\r`).join('');
}

/** The message's name: MSH-10. */
export function messageName(request: ServiceRequest): string {
  const { id, meta } = request;
  if (!id || !meta?.versionId) {
    throw new Error('The ServiceRequest has no id or no version: it must be one that the server has stored');
  }
  return controlId(id, meta.versionId);
}

function header({ request, device }: Order): string {
  return segment('MSH', {
    1: '|',
    2: '^~\\&',
    3: SENDER,
    5: text(device.deviceName?.[0]?.name),
    // The version's own time: a repetition is the same to the last byte.
    7: time(request.meta?.lastUpdated),
    9: 'OML^O21^OML_O21',
    10: messageName(request),
    11: 'P',
    12: '2.5.1',
    18: 'UNICODE UTF-8',
  });
}

function patientId(patient: Patient): string {
  const known = (patient.identifier ?? []).filter((identifier) => identifier.value).map(externalId);
  const sexes: Record<string, string> = { male: 'M', female: 'F', other: 'O', unknown: 'U' };
  return segment('PID', {
    1: '1',
    3: known.join('~') || components(patient.id, '', '', '', 'PI'),
    5: personName(patient.name?.find((name) => name.use === 'official') ?? patient.name?.[0]),
    7: time(patient.birthDate),
    8: sexes[patient.gender ?? ''],
  });
}

function common({ request, change }: Order): string {
  const codes: Record<Change, string> = { new: 'NW', changed: 'XO', cancelled: 'CA' };
  return segment('ORC', { 1: codes[change], 2: text(request.id), 9: time(request.authoredOn) });
}

function timing(request: ServiceRequest): string {
  const priorities: Record<string, string> = { urgent: 'A', asap: 'A', stat: 'S' };
  return segment('TQ1', { 1: '1', 9: priorities[request.priority ?? ''] ?? 'R' });
}

function detail(request: ServiceRequest): string {
  return segment('OBR', { 1: '1', 2: text(request.id), 4: coded(request.code) });
}

function specimen(specimen: Specimen, at: number): string {
  return segment('SPM', {
    1: `${at + 1}`,
    2: text(specimenNumber(specimen)),
    4: coded(specimen.type) || components('', specimen.type?.text),
    11: 'P^Patient^HL70369',
    17: time(specimen.collection?.collectedDateTime),
  });
}

/** What is written on the tube. */
export function specimenNumber(specimen: Specimen): string | undefined {
  return specimen.accessionIdentifier?.value ?? specimen.identifier?.find((one) => one.value)?.value;
}

/** CX: number, assigning authority, type. */
function externalId({ value, system, type, assigner }: Identifier): string {
  const [root, kind] = system?.startsWith('urn:oid:') ? [system.slice(8), 'ISO'] : [system, system && 'URI'];
  const authority = [assigner?.display, root, kind].map((part) => text(part)).join('&').replace(/&+$/, '');
  const code = type?.coding?.find((coding) => coding.code)?.code;
  return [text(value), '', '', authority, text(code)].join('^').replace(/\^+$/, '');
}

/** XPN. A patient whose name nobody knows has none that is called so. */
function personName(name: HumanName | undefined): string {
  const [first, ...more] = name?.given ?? [];
  const written = components(name?.family, first, more.join(' '), name?.suffix?.join(' '), name?.prefix?.join(' '));
  return written || components('', '', '', '', '', '', 'U');
}

/** CWE: the first two codings, each with its system. */
function coded(concept: CodeableConcept | undefined): string {
  const codings = (concept?.coding ?? []).filter((coding) => coding.code).slice(0, 2);
  return components(...codings.flatMap(({ code, display, system }) => [code, display, SYSTEMS[system ?? ''] ?? 'L']));
}

const SENDER = 'MEDPLUM';

/** What HL7 calls code systems (table 0396); any other is the laboratory's own. */
const SYSTEMS: Record<string, string> = {
  'http://loinc.org': 'LN',
  'http://snomed.info/sct': 'SCT',
  'http://terminology.hl7.org/CodeSystem/v2-0487': 'HL70487',
};
