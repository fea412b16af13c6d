"""How the page looks: gradio's plain theme in the system's own fonts, and the looks of results."""

from __future__ import annotations

FONT = ("system-ui", "sans-serif")
MONO = ("ui-monospace", "monospace")

CSS = """
.gradio-container { --quiet: color-mix(in srgb, var(--body-text-color) 68%, transparent);
  margin: 0 auto; max-width: 1240px !important; }
#head h1 { font-size: 1.6rem; font-weight: 650; margin: 0 0 .25rem; }
#head ul { list-style: none; margin: 0; padding: 0; }
#head li, #head p { color: var(--quiet); font-size: .9rem; margin: 0; }
#head b { color: var(--body-text-color); font-weight: 600; }
.card { background: var(--block-background-fill); border: 1px solid var(--border-color-primary);
  border-radius: 12px; gap: .75rem; padding: 1rem; }
.card h2 { font-size: 1.05rem; font-weight: 650; margin: 0; }
.card .block, .card .form { background: none; border: 0; box-shadow: none; padding: 0; }
.card .html-container, #head .html-container { padding: 0; }
.card .block { overflow: visible !important; }
#picture img, #second img { height: 100%; object-fit: contain; width: 100%; }
#drawings .gallery { display: grid; gap: .5rem;
  grid-template-columns: repeat(4, minmax(0, 6rem)); }
#drawings .gallery-item, #drawings .gallery-item span, #drawings .gallery-item div {
  display: block; height: auto; max-width: none; width: 100%; }
#drawings img { display: block; aspect-ratio: 1; height: auto; width: 100%; }
.tries .gallery { flex-wrap: wrap; gap: .4rem; }
.tries .gallery-item { border: 1px solid var(--border-color-primary); border-radius: 999px;
  font-size: .85rem; padding: .15rem .7rem; }
.result .model { min-width: 0; }
.result .model + .model { margin-top: 1rem; }
.result h4 { color: var(--quiet); font-size: .85rem; font-weight: 500;
  margin: 0 0 .35rem; overflow-wrap: anywhere; }
.result .said { font-size: 1.2rem; font-weight: 600; margin: .25rem 0; overflow-wrap: anywhere; }
.result .refused { border-left: 4px solid #d32f2f; margin: 0; overflow-wrap: anywhere;
  padding: .25rem .75rem; }
.result .hint { color: var(--quiet); margin: 0; }
.result figure { margin: 0; }
.result figure img { border-radius: 8px; display: block; height: auto; width: 100%; }
.result figcaption { color: var(--quiet); font-size: .85rem; margin-top: .35rem; }
#seen .result { display: grid; gap: 1rem;
  grid-template-columns: repeat(auto-fit, minmax(260px, 1fr)); }
#seen .result .model + .model { margin-top: 0; }
#seen .result figure { max-width: 460px; }
.bars { border-collapse: collapse; font-size: .9rem; margin: .25rem 0 .5rem; width: 100%; }
.bars th { font-weight: 400; overflow-wrap: anywhere; padding: .1rem .75rem .1rem 0;
  text-align: left; }
.bars td:nth-child(2) { width: 40%; }
.bars td:last-child { font-variant-numeric: tabular-nums; text-align: right; width: 3rem; }
.bars i { background: var(--color-accent); border-radius: 3px; display: block; height: .55rem;
  min-width: 1px; }
"""
