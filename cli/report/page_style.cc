#include "cli/report/page_style.h"

namespace retort {

const char kPageStyle[] = R"(
:root { --paper: #fcfcfb; --ink: #1c1f23; --soft: #5d6570; --rule: #dfe2e6; --panel: #f3f4f5; --accent: #b3541e;
  color-scheme: light dark; }
@media (prefers-color-scheme: dark) {
  :root { --paper: #15181b; --ink: #e4e7ea; --soft: #9aa3ad; --rule: #333a41; --panel: #1e2327; --accent: #f0a05a; } }
@media print { :root { --paper: #fff; --ink: #000; --soft: #444; --rule: #bbb; --panel: #f4f4f4; --accent: #8a3d10; }
  section { break-inside: avoid; } body { font-size: 10pt; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 2rem 1.2rem 4rem; max-width: 62rem; background: var(--paper); color: var(--ink);
  font: 16px/1.5 system-ui, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif;
  print-color-adjust: exact; -webkit-print-color-adjust: exact; }
h1 { font-size: 1.7rem; line-height: 1.2; margin: 0 0 .3rem; overflow-wrap: anywhere; }
h2 { font-size: 1.15rem; margin: 2.6rem 0 .5rem; padding-bottom: .2rem; border-bottom: 1px solid var(--rule); }
h3 { font-size: .95rem; margin: 1.2rem 0 .2rem; }
p { margin: .4rem 0; max-width: 48rem; } .soft { color: var(--soft); }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(9rem, 1fr)); gap: .7rem; margin: 1.2rem 0; }
.tile { background: var(--panel); border-radius: 8px; padding: .7rem .9rem; }
.tile b { display: block; font-size: 1.45rem; font-weight: 600; font-variant-numeric: tabular-nums; }
.tile span { color: var(--soft); font-size: .82rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .9rem; min-width: 100%; }
th { text-align: right; font-weight: 600; color: var(--soft); border-bottom: 1px solid var(--rule);
  padding: .3rem .6rem; white-space: nowrap; }
td { text-align: right; padding: .3rem .6rem; border-bottom: 1px solid var(--rule); white-space: nowrap; }
th:first-child, td:first-child { text-align: left; padding-left: 0; }
tr.last td { font-weight: 600; }
.strip { display: flex; flex-wrap: wrap; gap: 3px; margin: .6rem 0; }
.strip span { min-width: 1.75rem; padding: .1rem .2rem; text-align: center; border-radius: 4px; font-size: .75rem; }
.strip .kept, .key .kept { background: transparent; border: 1px solid var(--soft); }
.strip .made, .key .made { background: var(--accent); border: 1px solid var(--accent); color: var(--paper); }
.key span { display: inline-block; width: .9rem; height: .9rem; border-radius: 3px; vertical-align: -.1rem; }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 26rem), 1fr)); gap: .4rem 1.5rem; }
figure { margin: .4rem 0; } figcaption { color: var(--soft); font-size: .82rem; }
svg.chart { width: 100%; height: auto; display: block; }
svg text { fill: var(--soft); font-size: 13px; }
svg .grid { stroke: var(--rule); stroke-width: 1; } svg .axis { stroke: var(--soft); fill: none; }
svg .line { fill: none; stroke-width: 1.2; stroke-linecap: round; stroke-linejoin: round; }
svg .main { stroke-width: 2.8; }
table.heat { table-layout: fixed; } table.heat th { white-space: normal; text-align: center; vertical-align: bottom; }
table.heat th:first-child { text-align: left; width: 3.4rem; }
table.heat td { text-align: center; border: 2px solid var(--paper); border-radius: 6px; padding: .25rem .35rem;
  font-size: .78rem; }
table.heat td:first-child { text-align: left; }
.matrices { display: grid; grid-template-columns: repeat(auto-fit, minmax(11rem, 1fr)); gap: 1rem; }
.matrices img { width: 100%; aspect-ratio: 1; image-rendering: pixelated; border: 1px solid var(--rule); }
.sample { border-left: 3px solid var(--rule); padding: .1rem 0 .1rem .9rem; margin: 1rem 0; }
.sample p { white-space: pre-wrap; overflow-wrap: anywhere; max-height: 14rem; overflow-y: auto; }
.sample b { color: var(--soft); font-size: .75rem; font-weight: 600; display: block; }
pre { background: var(--panel); border-radius: 8px; padding: .8rem 1rem; overflow-x: auto; font-size: .82rem;
  line-height: 1.45; }
@media (max-width: 40rem) { th, td { padding: .3rem .35rem; } table { font-size: .82rem; }
  svg text { font-size: 21px; } }
code { font-family: ui-monospace, "SFMono-Regular", Menlo, Consolas, monospace; font-size: .92em;
  overflow-wrap: anywhere; }
@media print { .sample p { max-height: none; overflow: visible; } pre { white-space: pre-wrap; overflow-wrap: anywhere; }
  .wide { overflow: visible; } td { white-space: normal; } }
)";

}  // namespace retort
