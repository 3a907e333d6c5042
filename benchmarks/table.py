"""Prints results of the benchmarks as a Markdown table: table.py build-bench/results/*.json"""

import json
import sys


def number(value):
    return f"{value:.3g}" if value < 100 else f"{value:,.0f}"


print("| what | Skerry | beside it, in the same run | ratio |\n|---|---|---|---|")
for path in sys.argv[1:]:
    with open(path, encoding="utf-8") as file:
        report = json.load(file)
    print(f"| **{report['title']}** | | | |")
    for line in report["results"]:
        beside, ratio = "", ""
        if line["beside"]:
            beside = f"{line['beside']} {number(line['beside_value'])}"
            ratio = f"{line['value'] / line['beside_value']:.2f}"
        print(f"| {line['what']} | {number(line['value'])} {line['unit']} | {beside} | {ratio} |")
