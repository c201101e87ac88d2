// Writes oracle.tsv: ranges as a Plugin has them, versions, and whether npm's `semver` says that the
// version satisfies the range. The same seed gives the same table; see README.md.
'use strict';

const semver = require('semver');

// How many rows there are of each kind: the answer, and whether the version is a pre-release.
const ROWS = { 'true release': 2600, 'true prerelease': 1400, 'false release': 1800, 'false prerelease': 2200 };

const PRERELEASES = ['0', '1', 'alpha', 'alpha.0', 'alpha.1', 'beta', 'rc.1', 'rc.2', 'rc.10', 'rc1', 'x-y', '0a', '-'];
const BUILDS = ['b', '001', 'build.5', '-'];
const OPERATORS = ['', '', '^', '^', '~', '~', '=', '>', '>=', '>=', '<', '<', '<=', '<='];

let seed = 20260301;

/** A number from 0 up to `limit`, not included (mulberry32). */
function below(limit) {
  seed = (seed + 0x6d2b79f5) | 0;
  let t = Math.imul(seed ^ (seed >>> 15), seed | 1);
  t = (t + Math.imul(t ^ (t >>> 7), t | 61)) ^ t;
  return Math.floor((((t ^ (t >>> 14)) >>> 0) / 4294967296) * limit);
}

const chance = (percent) => below(100) < percent;
const pick = (list) => list[below(list.length)];
const number = () => pick([0, 0, 0, 1, 1, 1, 2, 2, 3, 9, 10]);

function triple() {
  return [number(), number(), number()];
}

/** A comparator in our syntax. Now and then it is near to `near`, so that ranges have something in them. */
function comparator(near) {
  const operator = pick(OPERATORS);
  const space = operator !== '' && chance(15) ? ' ' : '';
  const [major, minor, patch] = near && chance(60) ? near : triple();
  const shape = below(10);
  if (shape === 0) return `${operator}${space}${major}`;
  if (shape === 1) return `${operator}${space}${major}.${minor}`;
  if (shape === 2) return `${operator}${space}${major}.${pick(['*', 'x', 'X', '*.*', 'x.x'])}`;
  if (shape === 3) return `${operator}${space}${major}.${minor}.${pick(['*', 'x', 'X'])}`;
  const prerelease = shape >= 6 ? `-${pick(PRERELEASES)}` : '';
  const build = chance(6) ? `+${pick(BUILDS)}` : '';
  return `${operator}${space}${major}.${minor}.${patch}${prerelease}${build}`;
}

function range() {
  if (chance(2)) return pick(['*', 'x', 'X']);
  const near = triple();
  const count = pick([1, 1, 1, 2, 2, 2, 3]);
  return Array.from({ length: count }, () => comparator(near)).join(pick([', ', ',', ' , ']));
}

/** A version: more often than not at an edge of the range. */
function version(text) {
  let [major, minor, patch] = triple();
  const named = [...text.matchAll(/(\d+)(?:\.(\d+))?(?:\.(\d+))?/g)];
  if (named.length > 0 && chance(80)) {
    const [, a, b, c] = pick(named);
    [major, minor, patch] = [Number(a), Number(b ?? number()), Number(c ?? number())];
    const step = below(9);
    if (step === 0) patch += 1;
    if (step === 1) patch = Math.max(0, patch - 1);
    if (step === 2) [minor, patch] = [minor + 1, 0];
    if (step === 3) [major, minor, patch] = [major + 1, 0, 0];
  }
  const prerelease = chance(45) ? `-${pick(PRERELEASES)}` : '';
  const build = chance(8) ? `+${pick(BUILDS)}` : '';
  return `${major}.${minor}.${patch}${prerelease}${build}`;
}

/** Our syntax in npm's: a comma is a space there, and a bare version is a caret here. */
function translate(text) {
  const comparators = text.split(',').map((part) => part.trim());
  return comparators.map((part) => (/^\d/.test(part) && !/[*xX]$/.test(part) ? `^${part}` : part)).join(' ');
}

const rows = new Map();
const left = { ...ROWS };
while (Object.values(left).some((count) => count > 0)) {
  const ours = range();
  const candidate = version(ours);
  const npm = translate(ours);
  if (semver.validRange(npm) === null || semver.valid(candidate) === null) {
    throw new Error(`npm cannot read ${JSON.stringify(npm)} or ${candidate}`);
  }
  const satisfies = semver.satisfies(candidate, npm);
  const kind = `${satisfies} ${semver.prerelease(candidate) ? 'prerelease' : 'release'}`;
  const key = `${ours}\t${candidate}`;
  if (rows.has(key) || left[kind] === 0) continue;
  left[kind] -= 1;
  rows.set(key, satisfies);
}
process.stdout.write('range\tversion\tsatisfies\n');
for (const [key, satisfies] of rows) process.stdout.write(`${key}\t${satisfies}\n`);
