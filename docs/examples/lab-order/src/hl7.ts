/**
 * The text of HL7 v2: what may stand in a field, and how FHIR's times are written in it.
 *
 * Fields are given by their number in the standard. Everything that comes from a resource goes through `text`.
 */

/** One segment. A field that is not given is empty. */
export function segment(name: string, fields: Record<number, string | undefined>): string {
  const numbers = Object.keys(fields).map(Number).filter((number) => fields[number]);
  const values = Array.from({ length: Math.max(...numbers) }, (_, at) => fields[at + 1] ?? '');
  // MSH-1 is the separator itself.
  return name === 'MSH' ? ['MSH', ...values.slice(1)].join('|') : [name, ...values].join('|');
}

/** The components of a field; empty ones at the end are left out. */
export function components(...values: (string | undefined)[]): string {
  return values.map((value) => text(value)).join('^').replace(/\^+$/, '');
}

/** Escapes what has a meaning of its own, and what could not stand in a frame. */
export function text(value: string | undefined, lineBreak = ' '): string {
  const escapes: Record<string, string> = { '|': 'F', '^': 'S', '&': 'T', '~': 'R', '\\': 'E' };
  return (value ?? '')
    .replace(/[|^&~\\]/g, (sign) => `\\${escapes[sign]}\\`)
    .replace(/\r\n|\r|\n/g, lineBreak)
    .replace(/[\u0000-\u001f\u007f]/g, (sign) => `\\X${hex(sign)}\\`);
}

/** Free text, in which HL7 has a sign for the end of a line. */
export function freeText(value: string): string {
  return text(value, '\\.br\\');
}

/** FHIR's date, dateTime or instant, as precise as it is there: `20260301`, `20260301081500+0100`. */
export function time(value: string | undefined): string | undefined {
  if (!value) {
    return undefined;
  }
  const parts = TIME.exec(value);
  if (!parts) {
    throw new Error(`${value} is not a time as FHIR writes it`);
  }
  const [, date = '', clock = '', zone = ''] = parts;
  return (date + clock).replace(/[-:T]/g, '') + (zone === 'Z' ? '+0000' : zone.replace(':', ''));
}

// Fractions of a second are left out: few instruments read them.
const TIME = /^(\d{4}(?:-\d\d(?:-\d\d)?)?)(?:(T\d\d:\d\d(?::\d\d)?)(?:\.\d+)?(Z|[+-]\d\d:\d\d)?)?$/;

function hex(sign: string): string {
  return sign.charCodeAt(0).toString(16).toUpperCase().padStart(2, '0');
}
