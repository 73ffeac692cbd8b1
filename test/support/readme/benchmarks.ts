import { type CopyRow, medianOf, ratiosOf, recordedCopy } from '../../bench/copy-figures.ts';
import { table } from './markdown.ts';

/** The contenders in the order of the benchmark, and what each of them moves. */
const CONTENDERS = {
  orchestrate: 'four tables, eleven indexes, six foreign keys, ANALYZE',
  pgcopydb: 'the same table 1:1 with its two indexes',
  'text pipe': 'the same table 1:1, no index',
  'binary pipe': 'the same table 1:1, no index',
} as const;

/** The medians of the recorded rounds of `npm run bench -- copy --record`, a row for each contender and size. */
export function copyFigures(): string {
  const recorded = recordedCopy();
  if (recorded === undefined) return 'Nothing has been recorded yet.';
  const { machine, rows } = recorded;
  const sizes = [...new Set(rows.map((r) => r.users))];
  const rounds = Math.max(...rows.map((r) => r.round));
  const all = sizes.flatMap((users) =>
    Object.entries(CONTENDERS).flatMap(([contender, moves]) => {
      const of = (figure: (row: CopyRow) => number | undefined): string =>
        medianOf(rows, users, contender, figure)?.toFixed(1) ?? '–';
      if (!rows.some((r) => r.users === users && r.contender === contender)) return [];
      return [
        [
          users.toLocaleString('en-US'),
          contender,
          moves,
          of((r) => r.seconds['data']),
          of((r) => r.seconds['total']),
          `${of((r) => r.blueCpu)} / ${of((r) => r.greenCpu)} / ${of((r) => r.seconds['cpu'])}`,
        ],
      ];
    }),
  );
  const head = ['rows', 'who', 'moves', 'data, s', 'with indexes, s', 'CPU: blue / green / program, s'];
  const ratios = sizes.map((users) => {
    const r = ratiosOf(rows, users);
    return `${users.toLocaleString('en-US')} rows: ${[
      ...(r.total_vs_pgcopydb === undefined ? [] : [`${r.total_vs_pgcopydb} × pgcopydb in all`]),
      ...(r.data_vs_text_pipe === undefined ? [] : [`${r.data_vs_text_pipe} × the text pipe for the data`]),
      ...(r.data_vs_binary_pipe === undefined ? [] : [`${r.data_vs_binary_pipe} × the binary pipe`]),
      ...(r.all_seconds === undefined
        ? []
        : [`${r.all_seconds.toFixed(1)} s from prepare to the end of build`]),
      `at most ${r.peak_rss_mib} MiB of memory`,
    ].join(', ')}.`;
  });
  return [
    `Medians of ${rounds} round${rounds === 1 ? '' : 's'}, in turns, blue 15 and green 18 on the same ${machine.cpus} cores (${
      machine.memory_gib
    } GiB, Node ${machine.node}).`,
    table(head, all),
    ratios.join(' '),
  ].join('\n\n');
}
