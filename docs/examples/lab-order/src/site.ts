/** The Agent that reaches the instruments of this site, by its identifier. */
export const AGENT = 'https://example.org/wardpost|ward-3';
