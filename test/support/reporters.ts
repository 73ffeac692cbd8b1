import { RealServersReporter } from './real-servers-reporter.ts';

type Reporters = ('default' | RealServersReporter | ['json', { outputFile: string }])[];

/** What a run of tests prints, and where CI asks for it, its results as JSON, to be added up over several runs. */
export function reporters(): Reporters {
  const outputFile = process.env['ORCHESTRATE_TEST_RESULTS'];
  return [
    'default',
    new RealServersReporter(),
    ...(outputFile === undefined ? [] : [['json', { outputFile }] as ['json', { outputFile: string }]]),
  ];
}
