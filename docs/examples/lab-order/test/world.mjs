// A server in memory, with just the calls that the Bots make, and an order for a patient who does not exist.

import { createRequire } from 'node:module';

const require = createRequire(import.meta.url);

export const pushOrder = require('../dist/push-order.js').handler;
export const taskOrder = require('../dist/task-order.js').handler;

export const DEVICE = { resourceType: 'Device', id: 'chem-1', deviceName: [{ name: 'Chemistry 1', type: 'user-friendly-name' }] };

export const PATIENT = {
  resourceType: 'Patient',
  id: 'p1',
  identifier: [{ type: { coding: [{ code: 'MR' }] }, system: 'urn:oid:1.2.276.0.76.3', value: '900001' }],
  name: [{ use: 'official', family: 'Doe', given: ['Jane', 'Ann'] }],
  birthDate: '1980-01-01',
  gender: 'female',
};

export const SPECIMEN = {
  resourceType: 'Specimen',
  id: 's1',
  accessionIdentifier: { value: '26030100017' },
  type: { coding: [{ system: 'http://terminology.hl7.org/CodeSystem/v2-0487', code: 'SER', display: 'Serum' }] },
  collection: { collectedDateTime: '2026-03-01T08:05:00+01:00' },
};

export const REQUEST = {
  resourceType: 'ServiceRequest',
  id: '5e1f0000-0000-4000-8000-000000000001',
  meta: { versionId: '7e120000-0000-4000-8000-000000000001', lastUpdated: '2026-03-01T07:15:00.123Z' },
  status: 'active',
  intent: 'order',
  priority: 'stat',
  code: {
    coding: [
      { system: 'http://loinc.org', code: '2345-7', display: 'Glucose' },
      { system: 'https://example.org/tests', code: 'GLU' },
    ],
  },
  subject: { reference: 'Patient/p1' },
  specimen: [{ reference: 'Specimen/s1' }],
  performer: [{ reference: 'Device/chem-1' }],
  authoredOn: '2026-03-01T08:14:30+01:00',
};

/** The same order, written once more. */
export function nextVersion(of, change) {
  const number = Number(of.meta.versionId.slice(-2)) + 1;
  const versionId = of.meta.versionId.slice(0, -2) + String(number).padStart(2, '0');
  return { ...of, ...change, meta: { versionId, lastUpdated: `2026-03-01T07:${15 + number}:00Z` } };
}

export class Server {
  pushed = [];
  tasks = [];
  nudges = [];
  answer = 'MSH|^~\\&|LAB||MEDPLUM||20260301081501||ACK^O21|1|P|2.5.1\rMSA|AA|1\r';
  agents = [{ resourceType: 'Agent', id: 'a1' }];

  constructor(resources = {}) {
    const known = { 'Device/chem-1': DEVICE, 'Patient/p1': PATIENT, 'Specimen/s1': SPECIMEN };
    this.resources = { ...known, ...resources };
    this.versions = [];
  }

  /** Runs a Bot on each version in its turn, and hands back what it said of the last one. */
  async run(handler, ...versions) {
    let said;
    for (const input of versions) {
      this.versions.unshift(input);
      said = (await handler(this, { input, contentType: 'application/fhir+json', secrets: {} })).said;
    }
    return said;
  }

  async readHistory() {
    return { resourceType: 'Bundle', type: 'history', entry: this.versions.map((resource) => ({ resource })) };
  }

  async readReference({ reference }) {
    const resource = this.resources[reference];
    if (!resource) {
      throw new Error(`Not found: ${reference}`);
    }
    return resource;
  }

  async searchOne(type) {
    return type === 'Agent' ? this.agents[0] : { resourceType: 'Device', id: 'itself', url: 'device://self' };
  }

  async pushToAgent(agent, device, body, contentType, waits) {
    if (device.id === 'itself') {
      this.nudges.push(JSON.parse(body));
      throw new Error('the agent is away');
    }
    this.pushed.push({ agent: agent.id, device: device.id, body, contentType, waits });
    return this.answer;
  }

  async createResourceIfNoneExist(task, query) {
    const there = this.tasks.find((one) => query === `identifier=${one.identifier[0].system}|${one.identifier[0].value}`);
    return there ?? this.tasks[this.tasks.push({ ...task, id: `t${this.tasks.length + 1}` }) - 1];
  }

  /** The fields of the newest message, by segment and number: `OBR-4`. */
  field(name) {
    const [segment, number] = name.split('-');
    const lines = this.pushed.at(-1).body.split('\r');
    const fields = lines.find((line) => line.startsWith(`${segment}|`)).split('|');
    return fields[segment === 'MSH' ? number - 1 : Number(number)];
  }
}
