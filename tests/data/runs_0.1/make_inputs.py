"""The small inputs of the runs beside this file, from fixed seeds: python make_inputs.py, in the folder to write to."""

from __future__ import annotations

import datetime
from pathlib import Path

import numpy as np
from PIL import Image

CITIES = ["Bonn", "Köln", "Ulm"]
PLANS = ["basic", "plus", "family, all in"]  # the last one has to be quoted


def customers(path: str, count: int, seed: int, more_cities: tuple[str, ...] = ()) -> None:
    """A table with a date, two texts, two numbers of which one is missing at times, a weight, and labels no and yes."""
    random = np.random.default_rng(seed)
    lines = ["joined,city,plan,age,income,weight,churn"]
    for i in range(count):
        day = datetime.date(2021, 1, 1) + datetime.timedelta(days=int(random.integers(0, 1200)))
        city = str(random.choice([*CITIES, *more_cities]))
        plan = str(random.choice(PLANS, p=[0.5, 0.3, 0.2]))
        age, income = random.normal(45, 12), random.lognormal(7.5, 0.4)
        z = (45 - age) / 10 + 0.9 * (plan == "basic") - 0.7 * (city == "Ulm") + 0.5 * random.logistic()
        label = "yes" if z > 0.3 else "no"
        cells = [
            "" if i == 7 else day.isoformat(),
            "" if i == 11 else "Jena" if i == 17 else city,
            f'"{plan}"' if "," in plan else plan,
            "" if i % 13 == 5 else f"{age:.1f}",
            f"{income:.2f}",
            str(int(random.integers(1, 4))),
            label,
        ]
        lines.append(",".join(cells))
    Path(path).write_text("\n".join(lines) + "\n", encoding="utf-8")


def numbers(path: str, count: int, seed: int) -> None:
    """A table of three numbers whose labels are not separated."""
    random = np.random.default_rng(seed)
    x = random.normal(size=(count, 3)) * [1.0, 5.0, 0.2] + [0.0, 20.0, 1.0]
    z = x @ [0.8, 0.15, -2.0] - 1.0 + random.logistic(size=count)
    lines = ["a,b,c,y", *(f"{a:.4f},{b:.3f},{c:.4f},{int(s > 0)}" for (a, b, c), s in zip(x, z, strict=True))]
    Path(path).write_text("\n".join(lines) + "\n", encoding="utf-8")


def points(path: str) -> None:
    """The six points of the default run, with their labels."""
    rows = ["1,2,0", "2,3,0", "3,1,0", "4,3,1", "5,3,1", "6,2,1"]
    Path(path).write_text("\n".join(["x1,x2,label", *rows]) + "\n", encoding="utf-8")


def sparse(path: str, count: int, seed: int) -> None:
    """A LIBSVM file of twelve features, of which each row has a few."""
    random = np.random.default_rng(seed)
    effects = random.normal(size=12)
    lines = []
    for _ in range(count):
        nonzero = np.flatnonzero(random.random(12) < 0.35)
        values = random.integers(1, 5, len(nonzero))
        label = "+1" if values @ effects[nonzero] + random.logistic() > 0 else "-1"
        lines.append(" ".join([label, *(f"{i + 1}:{v}" for i, v in zip(nonzero, values, strict=True))]))
    Path(path).write_text("\n".join(lines) + "\n", encoding="utf-8")


def photos(folder: str, count: int, seed: int) -> None:
    """PNG photos of noise, redder in the first class and bluer in the second; lossless, so that any decoder agrees."""
    random = np.random.default_rng(seed)
    for place, name in enumerate(("cats", "dogs")):
        (Path(folder) / name).mkdir(parents=True, exist_ok=True)
        for i in range(count):
            pixels = random.integers(0, 200, (6, 8, 3))
            pixels[..., 2 * place] += 20
            Image.fromarray(pixels.astype(np.uint8)).save(Path(folder) / name / f"photo_{i}.png", optimize=True)


if __name__ == "__main__":
    customers("table.csv", 60, seed=1)
    customers("new.csv", 20, seed=2, more_cities=("Trier",))  # a level that training does not see
    numbers("numbers.csv", 100, seed=3)
    points("points.csv")
    sparse("sparse.libsvm", 60, seed=4)
    photos("photos", 8, seed=5)
