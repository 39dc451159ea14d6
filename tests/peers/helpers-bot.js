// A Bot that calls what Bots import from @medplum/core and hands back what came of it. It is run twice, with the published
// package in node and in the cloud stub: both must say the same.
const core = require('@medplum/core');

const TEXT = 'MSH|^~\\&|LAB|L1|EHR|H1|20260301||ORU^R01^ORU_R01|4711|P|2.3\nPID|1||88^^^H~99^^^X||DOE&VAN^JANE\rOBX|1\rOBX|2||\r';
const tried = (work) => {
  try {
    return work() ?? null;
  } catch (error) {
    return { thrown: core.normalizeErrorString(error) };
  }
};

function messages() {
  const { Hl7Message, Hl7Segment, Hl7Field, Hl7Context } = core;
  const message = Hl7Message.parse(TEXT);
  const pid = message.getSegment('PID');
  const said = {
    untouched: message.toString(),
    names: message.segments.map((one) => one.name),
    msh: [0, 1, 2, 3, 9, 10, 12, 30].map((number) => message.header.getField(number)?.toString() ?? null),
    byPlace: [message.get(1).name, message.get('OBX').get(1).toString(), message.getAll('OBX').length, message.get('ZZZ') ?? null],
    components: [pid.getComponent(3, 1), pid.getComponent(3, 1, undefined, 1), pid.getComponent(5, 1, 1), pid.getComponent(40, 1)],
    fields: pid.fields.map((one) => one.components),
    first: pid.getField(5).get(0, 0),
    ack: message.getAckType() ?? null,
  };
  pid.setField(7, '19800101');
  pid.setComponent(3, 4, 'Y', undefined, 2);
  pid.setComponent(5, 1, 'DE', 2);
  message.header.setField(13, '7');
  const refused = [message.header.setField(2, 'x'), pid.setComponent(5, 0, 'x'), pid.setComponent(99, 1, 'x')];
  refused.push(message.setSegment(0, pid), message.setSegment('ZZZ', pid), message.setSegment(1, message.header));
  message.setSegment('PID', new Hl7Segment(['PID', '2']));
  message.setSegment(99, new Hl7Segment(['NTE', '1', 'end']));
  const built = new Hl7Message([
    new Hl7Segment(['MSH', new Hl7Context().getMsh2(), 'A']),
    new Hl7Segment(['ORC', 'NW', Hl7Field.parse('1^2~3'), new Hl7Field([['a', 'b'], ['c']])]),
  ]);
  const ack = (options) => message.buildAck(options).toString().replace(/\|\d{14}(\.\d+)?\|/, '|TIME|').replace(/\|\d{13}\|/, '|ID|');
  return {
    ...said,
    refused,
    changed: message.toString(),
    pid: pid.toString(),
    built: built.toString(),
    acks: [ack(), ack({ ackCode: 'AE', errSegment: new Hl7Segment(['ERR', '1']) })],
    acknowledged: Hl7Message.parse('MSH|^~\\&|A\rMSA|ae|1').getAckType(),
    notHl7: tried(() => Hl7Message.parse('PID|1')),
  };
}

function times() {
  const dates = ['2026-03-01T08:15:00Z', '2026-03-01T08:15:00.250Z', '2026-03-01T08:15:00.050+01:00', '2026-03-01'];
  const texts = ['2026', '202603', '20260301', '202603010815', '20260301081500', '20260301081500.123', '20260301081500+0100', '20260301081500.5-0330', ''];
  return [dates.map((one) => core.formatHl7DateTime(one)), texts.map((one) => core.parseHl7DateTime(one) ?? null)];
}

function resources() {
  const jane = { resourceType: 'Patient', id: 'p', name: [{ prefix: ['Dr'], given: ['Jane', 'A'], family: 'Doe', suffix: ['II'] }] };
  const device = { resourceType: 'Device', id: 'd', deviceName: [{ name: 'Chemistry' }] };
  const plain = { resourceType: 'Task', id: 't', identifier: [{ system: 'a', value: '1' }] };
  core.setIdentifier(plain, 'b', '2');
  core.setIdentifier(plain, 'a', '3');
  const marked = { extension: [{ url: 'u', extension: [{ url: 'v', valueInteger: 7 }] }, { url: 'w', valueString: 's' }] };
  return {
    references: [jane, device, plain].map((one) => core.createReference(one)),
    strings: [jane, { reference: 'Patient/q' }, {}].map((one) => core.getReferenceString(one) ?? null),
    ids: [jane, { reference: 'Patient/q' }, undefined].map((one) => core.resolveId(one) ?? null),
    are: [core.isReference({ reference: 'Patient/q' }, 'Patient'), core.isReference({ reference: 'Patient/q' }, 'Task'), core.isReference(jane)],
    kinds: [core.isResource(jane), core.isResource(jane, 'Task'), core.isResource({}), core.isResource(null)],
    identifiers: [plain.identifier, core.getIdentifier(plain, 'b'), core.getIdentifier(jane, 'b') ?? null],
    extensions: [core.getExtension(marked, 'w'), core.getExtensionValue(marked, 'u', 'v'), core.getExtensionValue(marked, 'x') ?? null],
    names: [core.formatHumanName(jane.name[0]), core.formatHumanName(jane.name[0], { prefix: false }), core.formatHumanName(undefined)],
    codes: core.getCodeBySystem({ coding: [{ system: 's', code: 'c' }] }, 's'),
    systems: [core.LOINC, core.SNOMED, core.UCUM, core.HTTP_HL7_ORG],
  };
}

function outcomes() {
  const refusal = core.badRequest('no specimen', 'Specimen.id');
  const errors = [refusal, new core.OperationOutcomeError(refusal), new TypeError('x'), 'text', { code: 'ECONNREFUSED' }, undefined, { a: 1 }];
  return {
    words: errors.map((one) => core.normalizeErrorString(one)),
    outcomes: errors.slice(0, 4).map((one) => core.normalizeOperationOutcome(one)),
    good: [core.allOk, core.created, refusal, core.notFound].map((one) => core.isOk(one)),
    known: [core.notFound, core.forbidden, core.gone, core.preconditionFailed],
    issue: core.operationOutcomeToString({ issue: [{ diagnostics: 'd' }, { details: { text: 't' }, diagnostics: 'e' }, {}] }),
  };
}

function values() {
  const some = [null, undefined, '', 'x', {}, { a: 1 }, [], [0], 0, false];
  return {
    empty: some.map((one) => core.isEmpty(one)),
    populated: some.map((one) => core.isPopulated(one)),
    clone: core.deepClone({ a: [1, { b: undefined }] }),
    equal: [core.deepEquals({ a: [1, { b: 2 }] }, { a: [1, { b: 2 }] }), core.deepEquals([1], [2]), core.deepEquals({ a: 1 }, { a: 1, b: 2 })],
    capital: core.capitalize('lab'),
    base64: [core.encodeBase64('M\u00e4rz \u{1f600}!'), core.decodeBase64('TcOkcnog8J+YgCE=')],
    bytes: Array.from(new TextEncoder().encode('\u00e4\u20ac\u{1f600}')),
    types: ['HL7_V2', 'FHIR_JSON', 'JSON', 'JSON_PATCH', 'TEXT', 'PING'].map((one) => core.ContentType[one]),
    id: /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/.test(core.generateId()),
  };
}

exports.handler = async (medplum, event) => {
  const parts = { messages, times, resources, outcomes, values };
  const came = Object.fromEntries(Object.entries(parts).map(([name, work]) => [name, tried(work)]));
  const refused = (call) => call().then(() => 'taken', (error) => error.outcome ?? error.message);
  const missing = await refused(async () => medplum.readResource('Patient', '00000000-0000-4000-8000-000000000000'));
  const bare = await refused(async () => medplum.readResource('Patient', ''));
  const none = await refused(async () => medplum.readReference({}));
  const found = await medplum.searchResources('Device', { identifier: 'none', _count: 1 });
  const first = (await medplum.searchOne('Device', 'identifier=none')) ?? null;
  return { ...came, client: { missing, bare, none, found: [...found], kind: found.bundle.type, first }, contentType: event.contentType };
};
