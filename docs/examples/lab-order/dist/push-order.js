"use strict";
var __defProp = Object.defineProperty;
var __getOwnPropDesc = Object.getOwnPropertyDescriptor;
var __getOwnPropNames = Object.getOwnPropertyNames;
var __hasOwnProp = Object.prototype.hasOwnProperty;
var __export = (target, all) => {
  for (var name in all)
    __defProp(target, name, { get: all[name], enumerable: true });
};
var __copyProps = (to, from, except, desc) => {
  if (from && typeof from === "object" || typeof from === "function") {
    for (let key of __getOwnPropNames(from))
      if (!__hasOwnProp.call(to, key) && key !== except)
        __defProp(to, key, { get: () => from[key], enumerable: !(desc = __getOwnPropDesc(from, key)) || desc.enumerable });
  }
  return to;
};
var __toCommonJS = (mod) => __copyProps(__defProp({}, "__esModule", { value: true }), mod);

// src/push-order.ts
var push_order_exports = {};
__export(push_order_exports, {
  handler: () => handler
});
module.exports = __toCommonJS(push_order_exports);
var import_core = require("@medplum/core");

// src/control-id.ts
function controlId(id, version) {
  let hash = OFFSET;
  for (const sign of `${id}/${version}`) {
    hash = BigInt.asUintN(128, (hash ^ BigInt(sign.charCodeAt(0))) * PRIME);
  }
  let rest = hash ^ hash >> 64n;
  let name = "";
  while (name.length < LENGTH) {
    name += SIGNS[Number(rest % 32n)];
    rest /= 32n;
  }
  return name;
}
var OFFSET = 0x6c62272e07bb014262b821756295c58dn;
var PRIME = 0x1000000000000000000013bn;
var LENGTH = 20;
var SIGNS = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";

// src/hl7.ts
function segment(name, fields) {
  const numbers = Object.keys(fields).map(Number).filter((number) => fields[number]);
  const values = Array.from({ length: Math.max(...numbers) }, (_, at) => fields[at + 1] ?? "");
  return name === "MSH" ? ["MSH", ...values.slice(1)].join("|") : [name, ...values].join("|");
}
function components(...values) {
  return values.map((value) => text(value)).join("^").replace(/\^+$/, "");
}
function text(value, lineBreak = " ") {
  const escapes = { "|": "F", "^": "S", "&": "T", "~": "R", "\\": "E" };
  return (value ?? "").replace(/[|^&~\\]/g, (sign) => `\\${escapes[sign]}\\`).replace(/\r\n|\r|\n/g, lineBreak).replace(/[\u0000-\u001f\u007f]/g, (sign) => `\\X${hex(sign)}\\`);
}
function freeText(value) {
  return text(value, "\\.br\\");
}
function time(value) {
  if (!value) {
    return void 0;
  }
  const parts = TIME.exec(value);
  if (!parts) {
    throw new Error(`${value} is not a time as FHIR writes it`);
  }
  const [, date = "", clock = "", zone = ""] = parts;
  return (date + clock).replace(/[-:T]/g, "") + (zone === "Z" ? "+0000" : zone.replace(":", ""));
}
var TIME = /^(\d{4}(?:-\d\d(?:-\d\d)?)?)(?:(T\d\d:\d\d(?::\d\d)?)(?:\.\d+)?(Z|[+-]\d\d:\d\d)?)?$/;
function hex(sign) {
  return sign.charCodeAt(0).toString(16).toUpperCase().padStart(2, "0");
}

// src/order-message.ts
function orderMessage(order) {
  const { request, specimens } = order;
  const notes = (request.note ?? []).map((note, at) => segment("NTE", { 1: `${at + 1}`, 3: freeText(note.text ?? "") }));
  const segments = [header(order), patientId(order.patient), common(order), timing(request), detail(request), ...notes];
  return [...segments, ...specimens.map(specimen)].map((line) => `${line}\r`).join("");
}
function messageName(request) {
  const { id, meta } = request;
  if (!id || !meta?.versionId) {
    throw new Error("The ServiceRequest has no id or no version: it must be one that the server has stored");
  }
  return controlId(id, meta.versionId);
}
function header({ request, device }) {
  return segment("MSH", {
    1: "|",
    2: "^~\\&",
    3: SENDER,
    5: text(device.deviceName?.[0]?.name),
    // The version's own time: a repetition is the same to the last byte.
    7: time(request.meta?.lastUpdated),
    9: "OML^O21^OML_O21",
    10: messageName(request),
    11: "P",
    12: "2.5.1",
    18: "UNICODE UTF-8"
  });
}
function patientId(patient) {
  const known = (patient.identifier ?? []).filter((identifier) => identifier.value).map(externalId);
  const sexes = { male: "M", female: "F", other: "O", unknown: "U" };
  return segment("PID", {
    1: "1",
    3: known.join("~") || components(patient.id, "", "", "", "PI"),
    5: personName(patient.name?.find((name) => name.use === "official") ?? patient.name?.[0]),
    7: time(patient.birthDate),
    8: sexes[patient.gender ?? ""]
  });
}
function common({ request, change }) {
  const codes = { new: "NW", changed: "XO", cancelled: "CA" };
  return segment("ORC", { 1: codes[change], 2: text(request.id), 9: time(request.authoredOn) });
}
function timing(request) {
  const priorities = { urgent: "A", asap: "A", stat: "S" };
  return segment("TQ1", { 1: "1", 9: priorities[request.priority ?? ""] ?? "R" });
}
function detail(request) {
  return segment("OBR", { 1: "1", 2: text(request.id), 4: coded(request.code) });
}
function specimen(specimen2, at) {
  return segment("SPM", {
    1: `${at + 1}`,
    2: text(specimenNumber(specimen2)),
    4: coded(specimen2.type) || components("", specimen2.type?.text),
    11: "P^Patient^HL70369",
    17: time(specimen2.collection?.collectedDateTime)
  });
}
function specimenNumber(specimen2) {
  return specimen2.accessionIdentifier?.value ?? specimen2.identifier?.find((one) => one.value)?.value;
}
function externalId({ value, system, type, assigner }) {
  const [root, kind] = system?.startsWith("urn:oid:") ? [system.slice(8), "ISO"] : [system, system && "URI"];
  const authority = [assigner?.display, root, kind].map((part) => text(part)).join("&").replace(/&+$/, "");
  const code = type?.coding?.find((coding) => coding.code)?.code;
  return [text(value), "", "", authority, text(code)].join("^").replace(/\^+$/, "");
}
function personName(name) {
  const [first, ...more] = name?.given ?? [];
  const written = components(name?.family, first, more.join(" "), name?.suffix?.join(" "), name?.prefix?.join(" "));
  return written || components("", "", "", "", "", "", "U");
}
function coded(concept) {
  const codings = (concept?.coding ?? []).filter((coding) => coding.code).slice(0, 2);
  return components(...codings.flatMap(({ code, display, system }) => [code, display, SYSTEMS[system ?? ""] ?? "L"]));
}
var SENDER = "MEDPLUM";
var SYSTEMS = {
  "http://loinc.org": "LN",
  "http://snomed.info/sct": "SCT",
  "http://terminology.hl7.org/CodeSystem/v2-0487": "HL70487"
};

// src/order.ts
async function readOrder(medplum, request) {
  if (request?.resourceType !== "ServiceRequest") {
    throw new Error("This Bot takes a ServiceRequest, as its Subscription gives it");
  }
  const name = `ServiceRequest/${request.id}`;
  const instrument = request.performer?.find((one) => isA("Device", one));
  if (!instrument) {
    return { because: `${name} is not for an instrument: no Device is among its performers` };
  }
  const change = await changeOf(medplum, request);
  if (typeof change !== "string") {
    return { because: `${name} ${change.because}` };
  }
  return { request, change, ...await readParts(medplum, name, request), device: await medplum.readReference(instrument) };
}
async function changeOf(medplum, request) {
  const history = await medplum.readHistory("ServiceRequest", request.id);
  const versions = (history.entry ?? []).flatMap(({ resource }) => resource ?? []);
  const [newest, ...older] = versions;
  if (newest?.meta?.versionId !== request.meta?.versionId) {
    return { because: "has a newer version" };
  }
  const before = older.some(isOrdered);
  if (isOrdered(request)) {
    return before ? "changed" : "new";
  }
  if (request.status === "revoked" || request.status === "entered-in-error") {
    return before ? "cancelled" : { because: "was withdrawn before it was ordered" };
  }
  return { because: `is ${request.status} with the intent ${request.intent}: nothing is ordered` };
}
function isOrdered({ status, intent }) {
  return status === "active" && intent.endsWith("order");
}
async function readParts(medplum, name, { code, subject, specimen: tubes }) {
  if (!code?.coding?.some((coding) => coding.code)) {
    throw new Error(`${name} has no code: what is to be measured?`);
  }
  if (!isA("Patient", subject)) {
    throw new Error(`${name} has no Patient as its subject: whose is it?`);
  }
  if (!tubes?.length) {
    throw new Error(`${name} has no Specimen: which tube is it?`);
  }
  const patient = await medplum.readReference(subject);
  const specimens = await Promise.all(tubes.map((tube) => medplum.readReference(tube)));
  const unmarked = specimens.find((specimen2) => !specimenNumber(specimen2));
  if (unmarked) {
    throw new Error(`Specimen/${unmarked.id} of ${name} has no identifier: what is written on the tube?`);
  }
  return { patient, specimens };
}
function isA(type, reference) {
  return reference?.reference?.startsWith(`${type}/`) ?? false;
}

// src/said.ts
function say(said) {
  console.log(said);
  return { said };
}

// src/site.ts
var AGENT = "https://example.org/wardpost|ward-3";

// src/push-order.ts
async function handler(medplum, event) {
  const order = await readOrder(medplum, event.input);
  if ("because" in order) {
    return say(order.because);
  }
  const agent = await medplum.searchOne("Agent", { identifier: AGENT });
  if (!agent) {
    throw new Error(`There is no Agent with the identifier ${AGENT}`);
  }
  const answer = await medplum.pushToAgent(agent, order.device, orderMessage(order), import_core.ContentType.HL7_V2, true);
  return say(inWords(`ServiceRequest/${order.request.id}`, String(answer)));
}
function inWords(name, answer) {
  if (!answer.startsWith("MSH")) {
    return `${name} is ${answer}`;
  }
  const verdict = import_core.Hl7Message.parse(answer).getSegment("MSA");
  const code = verdict?.getField(1)?.toString();
  if (code !== "AA" && code !== "CA") {
    throw new Error(`The instrument refused ${name}: ${[code, verdict?.getField(3)?.toString()].join(" ").trim()}`);
  }
  return `${name} is with the instrument: ${code}`;
}
Object.assign(exports, module.exports);
