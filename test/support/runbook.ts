import { parseCommandLine } from '../../orchestrator/cli/program.ts';
import { wordsOf } from './readme/blocks.ts';

const SECTIONS = ['Meaning', 'Impact', 'Diagnosis', 'Mitigation'];

/** @returns what is wrong with the page of an alert: its title, its four sections, the commands it names. */
export async function runbookProblems(alert: string, page: string): Promise<string[]> {
  const [title = '', ...sections] = page.split(/^## /m);
  const wrong: string[] = [];
  if (title.trim() !== `# ${alert}`) wrong.push(`its title is not the alert's: ${title.trim()}`);
  const names = sections.map((s) => s.split('\n')[0]);
  if (names.join() !== SECTIONS.join()) wrong.push(`its sections are ${names.join(', ')}`);
  for (const section of sections) {
    const [name, ...lines] = section.split('\n');
    if (lines.join('').trim() === '') wrong.push(`${name} is empty`);
  }
  for (const [, command = ''] of page.matchAll(/`orchestrate ([^`]+)`/g))
    await parseCommandLine(wordsOf(command), 80).catch(() => wrong.push(`no such command: ${command}`));
  return wrong;
}
