// The helpers of @medplum/core that Bots import: the same names, our own code.
(function (core, host) {
  'use strict';

  const outcome = (severity, code, text, id) => ({
    resourceType: 'OperationOutcome',
    ...(id ? { id } : undefined),
    issue: [{ severity, code, details: { text } }],
  });

  core.ContentType = {
    CSS: 'text/css',
    DICOM: 'application/dicom',
    FHIR_JSON: 'application/fhir+json',
    FORM_URL_ENCODED: 'application/x-www-form-urlencoded',
    HL7_V2: 'x-application/hl7-v2+er7',
    HTML: 'text/html',
    JAVASCRIPT: 'text/javascript',
    JSON: 'application/json',
    JSON_PATCH: 'application/json-patch+json',
    OCTET_STREAM: 'application/octet-stream',
    PING: 'x-application/ping',
    TEXT: 'text/plain',
    TYPESCRIPT: 'text/typescript',
    XML: 'text/xml',
  };
  core.HTTP_HL7_ORG = 'http://hl7.org';
  core.HTTP_TERMINOLOGY_HL7_ORG = 'http://terminology.hl7.org';
  core.LOINC = 'http://loinc.org';
  core.SNOMED = 'http://snomed.info/sct';
  core.UCUM = 'http://unitsofmeasure.org';
  core.ICD10 = 'http://hl7.org/fhir/sid/icd-10';
  core.EMPTY = Object.freeze([]);

  // Outcomes.

  core.allOk = outcome('information', 'informational', 'All OK', 'ok');
  core.created = outcome('information', 'informational', 'Created', 'created');
  core.notFound = outcome('error', 'not-found', 'Not found', 'not-found');
  core.forbidden = outcome('error', 'forbidden', 'Forbidden', 'forbidden');
  core.gone = outcome('error', 'deleted', 'Gone', 'gone');
  core.preconditionFailed = outcome('error', 'processing', 'Precondition Failed', 'precondition-failed');
  core.badRequest = (text, expression) => {
    const refusal = outcome('error', 'invalid', text);
    if (expression) {
      refusal.issue[0].expression = [expression].flat();
    }
    return refusal;
  };
  core.isOperationOutcome = (value) => value?.resourceType === 'OperationOutcome';
  core.isOk = (value) => GOOD.includes(value?.id);
  core.isNotFound = (value) => value?.id === 'not-found';
  core.isGone = (value) => value?.id === 'gone';
  const GOOD = ['ok', 'created', 'accepted', 'not-modified'];

  core.operationOutcomeIssueToString = ({ details, diagnostics, expression }) => {
    const more = diagnostics ? ` (${diagnostics})` : '';
    const words = details?.text ? details.text + more : diagnostics || 'Unknown error';
    return expression?.length ? `${words} (${expression.join(', ')})` : words;
  };
  core.operationOutcomeToString = (value) =>
    value.issue?.map(core.operationOutcomeIssueToString).join('; ') || 'Unknown error';

  core.OperationOutcomeError = class OperationOutcomeError extends Error {
    constructor(outcome, options) {
      super(core.operationOutcomeToString(outcome), options);
      this.name = 'OperationOutcomeError';
      this.outcome = outcome;
    }
  };
  core.normalizeErrorString = (error) => {
    if (!error) {
      return 'Unknown error';
    }
    if (typeof error === 'string') {
      return error;
    }
    if (error instanceof Error) {
      return error.message;
    }
    if (core.isOperationOutcome(error)) {
      return core.operationOutcomeToString(error);
    }
    return typeof error.code === 'string' ? error.code : JSON.stringify(error);
  };
  core.normalizeOperationOutcome = (error) => {
    if (error instanceof core.OperationOutcomeError) {
      return error.outcome;
    }
    return core.isOperationOutcome(error) ? error : core.badRequest(core.normalizeErrorString(error));
  };

  // References and resources.

  core.isResource = (value, kind) =>
    typeof value?.resourceType === 'string' && (kind === undefined || value.resourceType === kind);
  core.isResourceWithId = (value, kind) => core.isResource(value, kind) && typeof value.id === 'string';
  core.isReference = (value, kind) =>
    typeof value?.reference === 'string' && (!kind || new RegExp(`^${kind}[/?]`).test(value.reference));
  core.getReferenceString = (value) => {
    if (core.isResourceWithId(value)) {
      return `${value.resourceType}/${value.id}`;
    }
    return core.isReference(value) ? value.reference : undefined;
  };
  core.createReference = (resource) => {
    const reference = core.getReferenceString(resource) ?? 'undefined/undefined';
    const display = core.getDisplayString(resource);
    return display === reference ? { reference } : { reference, display };
  };
  core.resolveId = (value) => (core.isReference(value) ? value.reference.split('/')[1] : value?.id);
  core.parseReference = (value) => {
    const parts = value?.reference?.split('/');
    if (parts?.length !== 2) {
      throw new core.OperationOutcomeError(core.badRequest('Unable to parse reference'));
    }
    return parts;
  };
  core.getDisplayString = (resource) => {
    const { name, deviceName, code, id } = resource;
    const person = Array.isArray(name) && typeof name[0] === 'object' ? core.formatHumanName(name[0]) : undefined;
    const plain = typeof name === 'string' ? name : deviceName?.[0]?.name ?? code?.text;
    return person || plain || core.getReferenceString(resource) || id || '';
  };

  core.getIdentifier = (resource, system) =>
    [resource.identifier ?? []].flat().find((one) => one.system === system)?.value;
  core.setIdentifier = (resource, system, value, options) => {
    const identifier = { system, value, ...(options?.use ? { use: options.use } : undefined) };
    resource.identifier ??= [];
    const known = resource.identifier.find((one) => one.system === system);
    if (known) {
      Object.assign(known, identifier);
    } else {
      resource.identifier.push(identifier);
    }
  };
  core.getExtension = (resource, ...urls) =>
    urls.reduce((inside, url) => inside?.extension?.find((one) => one.url === url), resource);
  core.getExtensionValue = (resource, ...urls) => {
    const extension = core.getExtension(resource, ...urls);
    const member = Object.keys(extension ?? {}).find((name) => /^value[A-Z]/.test(name));
    return member && extension[member];
  };
  core.getCodeBySystem = (concept, system) => concept.coding?.find((one) => one.system === system)?.code;
  core.setCodeBySystem = (concept, system, code) => {
    concept.coding ??= [];
    const known = concept.coding.find((one) => one.system === system);
    if (known) {
      known.code = code;
    } else {
      concept.coding.push({ system, code });
    }
  };

  core.formatHumanName = (name, options) => {
    if (!name) {
      return '';
    }
    const parts = [
      ...(options?.prefix === false ? [] : name.prefix ?? []),
      ...(name.given ?? []),
      ...(name.family ? [name.family] : []),
      ...(options?.suffix === false ? [] : name.suffix ?? []),
    ];
    return parts.join(' ').trim() || name.text?.trim() || '';
  };
  core.formatFamilyName = (name) => name.family ?? '';
  core.formatGivenName = (name) => name.given?.join(' ') ?? '';
  core.formatCodeableConcept = (concept) =>
    concept?.text ?? concept?.coding?.map((one) => one.display ?? one.code).join(', ') ?? '';

  // Values.

  core.isString = (value) => typeof value === 'string';
  core.isObject = (value) => value !== null && typeof value === 'object';
  core.isPopulated = (value) =>
    (typeof value === 'string' && value !== '') || (core.isObject(value) && Object.keys(value).length > 0);
  core.isEmpty = (value) =>
    value === null || value === undefined || (['string', 'object'].includes(typeof value) && !core.isPopulated(value));
  core.deepClone = (value) => (value === undefined ? value : JSON.parse(JSON.stringify(value)));
  core.deepEquals = (one, other) => {
    if (!core.isObject(one) || !core.isObject(other)) {
      return one === other;
    }
    const names = Object.keys(one);
    return (
      Array.isArray(one) === Array.isArray(other) &&
      names.length === Object.keys(other).length &&
      names.every((name) => core.deepEquals(one[name], other[name]))
    );
  };
  core.stringify = (value, pretty) => JSON.stringify(value, null, pretty ? 2 : undefined);
  core.capitalize = (word) => (word ? word[0].toUpperCase() + word.slice(1) : '');
  core.append = (list, value) => (list ? (list.push(value), list) : [value]);
  core.arrayify = (value) => (value === undefined ? undefined : [value].flat());
  core.getDateProperty = (date) => (date ? new Date(date) : undefined);
  core.generateId = () => host.uuid();
  core.sleep = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));
  core.encodeBase64 = (text) => core.bytesToBase64(core.encodeUtf8(text));
  core.decodeBase64 = (text) => core.decodeUtf8(core.base64ToBytes(text));
})
