"""A report for people."""

from __future__ import annotations

from typing import Any


def report_text(report: dict[str, Any]) -> str:
    """Lines of a report as `report.measure` makes it."""
    r, step = report, report["seconds_per_step"]
    lines = [
        f"case         {r['potential']} on {r['structure']}: {r['n_atoms']:,} atoms, {r['steps']} steps, "
        f"{r['ranks']} rank{'s' if r['ranks'] > 1 else ''}",
        f"machine      {r['machine']}, {r['device']}, {r['precision']}, {r['instruction_set']}",
        f"speed        {r['atom_steps_per_second']:.4g} atom-step/s ({1e3 * step:.3g} ms a step), "
        f"{r['atom_steps_per_processor_second']:.4g} per processor second",
    ]
    for name, seconds in r["stages"].items():
        lines.append(f"  {name:<11}{100 * seconds / step:5.1f} %  {1e3 * seconds:9.4f} ms a step")
    if r["stages_scale"] < 1.0:
        lines.append(f"  kernels took longer when each was waited for: stages scaled by {r['stages_scale']:.2f}, "
                     "no host time left")
    per_atom = sum(r["operations_per_atom_step"].values())
    lines += [
        f"rebuilds     {r['rebuilds']}, skin {r['skin_A']:g} A, {r['mean_temperature_K']:.0f} K at the end",
        f"neighbours   {r['neighbors']['radial']:.1f} radial, {r['neighbors']['angular']:.1f} angular",
        f"arithmetic   {per_atom:,.0f} operations per atom-step, {r['gflops']:.3g} GFLOP/s, "
        f"{100 * r['fraction_of_peak']:.1f} % of the measured {r['peak_gflops']:.3g}",
        f"memory       {r['bytes_per_atom']:,.0f} bytes per atom in arrays, {r['peak_memory_bytes'] / 2**20:,.0f} MiB "
        "at the peak of all processes",
        f"messages     {r['messages_per_step']:.1f} and {r['bytes_per_step']:,.0f} bytes per rank and step, "
        f"{r['ghosts']:,} ghosts in all",
    ]
    if "model" in r:
        lines += _model_text(r["model"])
    return "\n".join(lines)


def _model_text(model: dict[str, Any]) -> list[str]:
    lines = [f"model        R {model['rate_atom_steps_per_second']:.4g} atom-step/s per rank, n_half "
             f"{model['half_atoms']:,.0f} atoms, {1e6 * model['latency_seconds']:g} us per message pair, "
             f"{1e-9 * model['bandwidth_bytes_per_second']:g} GB/s"]
    for kind in ("strong", "weak"):
        lines.append(f"  {kind:<7} ranks  atoms/rank  ghosts/rank  pairs  reductions     steps/s  efficiency")
        lines += [f"          {row['ranks']:>5}  {row['atoms']:>10,.0f}  {row['ghosts']:>11,.0f}  "
                  f"{row['message_pairs']:>5}  {row['reduction_pairs']:>10.1f}  {row['steps_per_second']:>10.4g}  "
                  f"{row['efficiency']:>10.2f}"
                  for row in model[kind]]
    return lines
