// The compiled Bots, as they are deployed: `npm test`.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { PATIENT, REQUEST, SPECIMEN, Server, nextVersion, pushOrder, taskOrder } from './world.mjs';

test('a new order is the message that the instrument expects', async () => {
  const server = new Server();
  const said = await server.run(pushOrder, REQUEST);
  assert.equal(said, `ServiceRequest/${REQUEST.id} is with the instrument: AA`);
  const [push] = server.pushed;
  assert.deepEqual(
    { ...push, body: push.body.replace(/\|[0-9A-Z]{20}\|/, '|NAME|').split('\r') },
    {
      agent: 'a1',
      device: 'chem-1',
      contentType: 'x-application/hl7-v2+er7',
      waits: true,
      body: [
        'MSH|^~\\&|MEDPLUM||Chemistry 1||20260301071500+0000||OML^O21^OML_O21|NAME|P|2.5.1||||||UNICODE UTF-8',
        'PID|1||900001^^^&1.2.276.0.76.3&ISO^MR||Doe^Jane^Ann||19800101|F',
        `ORC|NW|${REQUEST.id}|||||||20260301081430+0100`,
        'TQ1|1||||||||S',
        `OBR|1|${REQUEST.id}||2345-7^Glucose^LN^GLU^^L`,
        'SPM|1|26030100017||SER^Serum^HL70487|||||||P^Patient^HL70369||||||20260301080500+0100',
        '',
      ],
    }
  );
});

test('a changed order has the same number, another name, and says that it is a change', async () => {
  const server = new Server();
  await server.run(pushOrder, REQUEST, nextVersion(REQUEST, { priority: 'routine' }));
  const [first, second] = server.pushed.map(({ body }) => body);
  assert.equal(server.field('ORC-1'), 'XO');
  assert.equal(server.field('ORC-2'), REQUEST.id);
  assert.notEqual(first.split('|')[9], second.split('|')[9]);
});

test('a revoked order is cancelled', async () => {
  for (const status of ['revoked', 'entered-in-error']) {
    const server = new Server();
    await server.run(pushOrder, REQUEST, nextVersion(REQUEST, { status }));
    assert.equal(server.field('ORC-1'), 'CA');
    assert.equal(server.field('ORC-2'), REQUEST.id);
  }
});

test('a repeated trigger gives the same bytes', async () => {
  const server = new Server();
  await server.run(pushOrder, REQUEST);
  server.versions = [];
  await server.run(pushOrder, REQUEST);
  assert.equal(server.pushed[0].body, server.pushed[1].body);
});

test('a draft is not ordered, and what was never ordered is not cancelled', async () => {
  const server = new Server();
  const draft = { ...REQUEST, status: 'draft' };
  assert.match(await server.run(pushOrder, draft), /nothing is ordered/);
  assert.match(await server.run(pushOrder, nextVersion(draft, { status: 'revoked' })), /withdrawn before/);
  assert.equal(server.pushed.length, 0);
  await server.run(pushOrder, nextVersion(nextVersion(draft, {}), { status: 'active' }));
  assert.equal(server.field('ORC-1'), 'NW');
});

test('a proposal is not ordered', async () => {
  const server = new Server();
  assert.match(await server.run(pushOrder, { ...REQUEST, intent: 'proposal' }), /nothing is ordered/);
});

test('what is not for an instrument is left alone', async () => {
  const server = new Server();
  const said = await server.run(pushOrder, { ...REQUEST, performer: [{ reference: 'Organization/o1' }] });
  assert.match(said, /not for an instrument/);
  assert.equal(server.pushed.length, 0);
});

test('an old version that comes late does not undo a new one', async () => {
  const server = new Server();
  await server.run(pushOrder, REQUEST, nextVersion(REQUEST, { status: 'revoked' }));
  const { said } = await pushOrder(server, { input: REQUEST });
  assert.match(said, /has a newer version/);
  assert.equal(server.pushed.length, 2);
});

test('signs with a meaning are escaped, and nothing can end the frame', async () => {
  const name = [{ family: 'D|o^e', given: ['J&a~n\\e'] }];
  const server = new Server({ 'Patient/p1': { ...PATIENT, name } });
  await server.run(pushOrder, { ...REQUEST, note: [{ text: 'first\r\nsecond \u001c\u000b|' }] });
  assert.equal(server.field('PID-5'), 'D\\F\\o\\S\\e^J\\T\\a\\R\\n\\E\\e');
  assert.equal(server.field('NTE-3'), 'first\\.br\\second \\X1C\\\\X0B\\\\F\\');
});

test('a time is as precise as it was', async () => {
  for (const [birthDate, written] of [['1980', '1980'], ['1980-02', '198002'], ['1980-02-03', '19800203']]) {
    const server = new Server({ 'Patient/p1': { ...PATIENT, birthDate } });
    await server.run(pushOrder, { ...REQUEST, authoredOn: '2026-03-01T23:59:59.999-05:00' });
    assert.equal(server.field('PID-7'), written);
    assert.equal(server.field('ORC-9'), '20260301235959-0500');
  }
});

test('a patient without name, number and birth date is one all the same', async () => {
  const server = new Server({ 'Patient/p1': { resourceType: 'Patient', id: 'p1' } });
  await server.run(pushOrder, REQUEST);
  assert.match(server.pushed[0].body, /\rPID\|1\|\|p1\^\^\^\^PI\|\|\^\^\^\^\^\^U\r/);
});

test('two tubes are two specimens', async () => {
  const server = new Server({ 'Specimen/s2': { ...SPECIMEN, id: 's2', accessionIdentifier: { value: '26030100018' } } });
  await server.run(pushOrder, { ...REQUEST, specimen: [...REQUEST.specimen, { reference: 'Specimen/s2' }] });
  assert.match(server.pushed[0].body, /\rSPM\|1\|26030100017\|.*\rSPM\|2\|26030100018\|/);
});

test('what is missing is said in a sentence, and nothing is pushed', async () => {
  const mistakes = [
    [{ subject: undefined }, /has no Patient as its subject/],
    [{ subject: { reference: 'Group/g1' } }, /has no Patient as its subject/],
    [{ specimen: undefined }, /has no Specimen/],
    [{ specimen: [] }, /has no Specimen/],
    [{ code: { text: 'sugar' } }, /has no code/],
    [{ code: undefined }, /has no code/],
    [{ subject: { reference: 'Patient/none' } }, /Not found: Patient\/none/],
    [{ specimen: [{ reference: 'Specimen/bare' }] }, /what is written on the tube/],
    [{ authoredOn: 'yesterday' }, /is not a time/],
    [{ meta: {} }, /no version/],
    [{ resourceType: 'Patient' }, /takes a ServiceRequest/],
  ];
  for (const [change, sentence] of mistakes) {
    for (const handler of [pushOrder, taskOrder]) {
      const server = new Server({ 'Specimen/bare': { resourceType: 'Specimen', id: 'bare' } });
      await assert.rejects(server.run(handler, { ...REQUEST, ...change }), sentence);
      assert.equal(server.pushed.length + server.tasks.length, 0);
    }
  }
});

test('a refusal of the instrument is an error with its words', async () => {
  const server = new Server();
  server.answer = 'MSH|^~\\&|LAB||MEDPLUM||1||ACK^O21|1|P|2.5.1\rMSA|AE|1|unknown test\r';
  await assert.rejects(server.run(pushOrder, REQUEST), /The instrument refused ServiceRequest\/.*: AE unknown test/);
});

test('an order that waits at the agent is no error', async () => {
  const server = new Server();
  server.answer = 'queued: device away; push 17 is kept and goes on without you';
  assert.match(await server.run(pushOrder, REQUEST), /is queued: device away; push 17 is kept/);
});

test('without the agent of the site there is no push', async () => {
  const server = new Server();
  server.agents = [];
  await assert.rejects(server.run(pushOrder, REQUEST), /There is no Agent/);
});

test('the mailbox gets one Task a version, with the message of the push', async () => {
  const server = new Server();
  const changed = nextVersion(REQUEST, { priority: 'routine' });
  for (const input of [REQUEST, changed, changed]) {
    await server.run(pushOrder, input);
    await taskOrder(server, { input });
  }
  const [first, second] = server.tasks;
  assert.equal(server.tasks.length, 2);
  assert.equal(first.input[0].valueString, server.pushed[0].body);
  assert.equal(second.input[0].valueString, server.pushed[1].body);
  assert.equal(first.owner.reference, 'Device/chem-1');
  assert.equal(first.focus.reference, `ServiceRequest/${REQUEST.id}`);
  assert.ok(first.authoredOn < second.authoredOn);
  assert.deepEqual(server.nudges[0], { verb: 'poll' });
});

test('no two messages have one name, and each name fits into its field', async () => {
  const names = new Set();
  for (let number = 0; number < 20_000; number += 1) {
    const server = new Server();
    const digits = String(number).padStart(12, '0');
    const [id, versionId] = number % 2 ? [digits, 'v'] : ['r', digits];
    await server.run(pushOrder, { ...REQUEST, id, meta: { ...REQUEST.meta, versionId } });
    assert.match(server.field('MSH-10'), /^[0-9A-Z]{20}$/);
    names.add(server.field('MSH-10'));
  }
  assert.equal(names.size, 20_000);
});
