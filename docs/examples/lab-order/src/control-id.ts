/**
 * The name of one message (MSH-10): the same version of the same order has the same name, always.
 *
 * It is how Wardpost and the instrument recognise a repetition. MSH-10 takes 20 characters, and an id and a version have
 * 72, so the name is a hash of both: FNV-1a of 128 bits, of which 100 are written in 20 characters. Among a billion
 * messages the chance that two share a name is below one in a trillion.
 */
export function controlId(id: string, version: string): string {
  let hash = OFFSET;
  for (const sign of `${id}/${version}`) {
    hash = BigInt.asUintN(128, (hash ^ BigInt(sign.charCodeAt(0))) * PRIME);
  }
  // The lowest bits know the least of what came first, the highest the least of what came last.
  let rest = hash ^ (hash >> 64n);
  let name = '';
  while (name.length < LENGTH) {
    name += SIGNS[Number(rest % 32n)];
    rest /= 32n;
  }
  return name;
}

const OFFSET = 0x6c62272e07bb014262b821756295c58dn;
const PRIME = 0x1000000000000000000013bn;
const LENGTH = 20;
/** No letters that are read as digits, and capitals only: some instruments know no others. */
const SIGNS = '0123456789ABCDEFGHJKMNPQRSTVWXYZ';
