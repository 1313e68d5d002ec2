"""What stands in for the house prices of section 5.7: houses made up column by column.

They have the columns of the Ames data set, its kinds of values, its numbers of rows and its missing
values. A price follows from size, quality, age, place and extras, so that a model can learn it.
"""

import csv
import math
import random
from pathlib import Path
from typing import Any

House = dict[str, Any]
_NUM_TRAIN, _NUM_TEST = 1460, 1459
_MISSING = "NA"

#: Columns that are drawn one by one: each value with its weight, in the order of the alphabet.
_CATEGORIES = """
MSZoning       C_(all):1 FV:4 RH:1 RL:78 RM:16
Street         Grvl:1 Pave:99
Alley          Grvl:4 Pave:3 NA:93
LotShape       IR1:33 IR2:3 IR3:1 Reg:63
LandContour    Bnk:4 HLS:4 Low:2 Lvl:90
Utilities      AllPub:99 NoSeWa:.3 NA:.1
LotConfig      Corner:18 CulDSac:6 FR2:3 FR3:.5 Inside:72
LandSlope      Gtl:95 Mod:4 Sev:1
Condition1     Artery:3 Feedr:6 Norm:86 PosA:1 PosN:1 RRAe:1 RRAn:2 RRNe:.3 RRNn:.4
Condition2     Artery:.3 Feedr:.5 Norm:98 PosA:.3 PosN:.3 RRAe:.3 RRAn:.3 RRNn:.3
BldgType       1Fam:83 2fmCon:2 Duplex:4 Twnhs:3 TwnhsE:8
RoofStyle      Flat:1 Gable:79 Gambrel:1 Hip:19 Mansard:.4 Shed:.3
RoofMatl       ClyTile:.3 CompShg:98 Membran:.3 Metal:.3 Roll:.3 Tar&Grv:.8 WdShake:.3 WdShngl:.3
MasVnrType     BrkCmn:1 BrkFace:30 None:60 Stone:9 NA:.8
ExterCond      Ex:.4 Fa:2 Gd:10 Po:.3 TA:87
Foundation     BrkTil:11 CBlock:42 PConc:44 Slab:2 Stone:.4 Wood:.3
BsmtCond       Fa:4 Gd:4 Po:.3 TA:89 NA:3
BsmtExposure   Av:14 Gd:9 Mn:8 No:66 NA:.1
BsmtFinType1   ALQ:15 BLQ:9 GLQ:29 LwQ:5 Rec:10 Unf:29
BsmtFinType2   ALQ:2 BLQ:2 GLQ:1 LwQ:3 Rec:4 Unf:85 NA:.1
Heating        Floor:.3 GasA:97 GasW:1 Grav:.3 OthW:.3 Wall:.3
HeatingQC      Ex:51 Fa:3 Gd:16 Po:.3 TA:29
CentralAir     N:7 Y:93
Electrical     FuseA:6 FuseF:2 FuseP:.3 Mix:.3 SBrkr:91 NA:.1
Functional     Maj1:1 Maj2:.3 Min1:2 Min2:2 Mod:1 Sev:.3 Typ:93 NA:.1
GarageType     2Types:.5 Attchd:59 Basment:1 BuiltIn:6 CarPort:.6 Detchd:27 NA:5
GarageFinish   Fin:24 RFn:28 Unf:42
GarageCond     Ex:.3 Fa:3 Gd:1 Po:.5 TA:91
PavedDrive     N:6 P:2 Y:92
PoolQC         Ex:.3 Fa:.3 Gd:.3 NA:99.5
Fence          GdPrv:4 GdWo:4 MnPrv:11 MnWw:1 NA:81
MiscFeature    Gar2:.3 Othr:.3 Shed:3 TenC:.3 NA:96
SaleType       COD:3 CWD:.4 Con:.3 ConLD:1 ConLI:.4 ConLw:.4 New:8 Oth:.3 WD:87 NA:.1
SaleCondition  Abnorml:7 AdjLand:.4 Alloca:1 Family:2 Normal:82 Partial:8
Exterior1st    AsbShng:1 AsphShn:.3 BrkComm:.3 BrkFace:3 CBlock:.3 CemntBd:4 HdBoard:15 \
ImStucc:.3 MetalSd:15 Plywood:8 Stone:.3 Stucco:2 VinylSd:35 Wd_Sdng:14 WdShing:2 NA:.1
Exterior2nd    AsbShng:1 AsphShn:.3 Brk_Cmn:1 BrkFace:2 CBlock:.3 CmentBd:4 HdBoard:14 \
ImStucc:1 MetalSd:15 Other:.3 Plywood:9 Stone:.4 Stucco:2 VinylSd:35 Wd_Sdng:13 Wd_Shng:3 NA:.1
"""
#: What each neighborhood adds to the logarithm of a price, in hundredths.
_NEIGHBORHOODS = """
Blmngtn:6 Blueste:-8 BrDale:-15 BrkSide:-5 ClearCr:8 CollgCr:4 Crawfor:12 Edwards:-9 Gilbert:2
IDOTRR:-18 MeadowV:-20 Mitchel:-3 NAmes:-4 NPkVill:-4 NWAmes:1 NoRidge:22 NridgHt:22 OldTown:-12
SWISU:-6 Sawyer:-5 SawyerW:0 Somerst:9 StoneBr:24 Timber:9 Veenker:13
"""
_STYLES = {
    "1Story": (1, 20),
    "2Story": (2, 60),
    "1.5Fin": (1.5, 50),
    "1.5Unf": (1, 45),
    "2.5Fin": (2.5, 75),
    "2.5Unf": (2, 75),
    "SFoyer": (1, 85),
    "SLvl": (1, 80),
}
#: The columns of the file, in its order; the test set lacks the last one.
_COLUMNS = str.split(
    """
Id MSSubClass MSZoning LotFrontage LotArea Street Alley LotShape LandContour Utilities LotConfig
LandSlope Neighborhood Condition1 Condition2 BldgType HouseStyle OverallQual OverallCond YearBuilt
YearRemodAdd RoofStyle RoofMatl Exterior1st Exterior2nd MasVnrType MasVnrArea ExterQual ExterCond
Foundation BsmtQual BsmtCond BsmtExposure BsmtFinType1 BsmtFinSF1 BsmtFinType2 BsmtFinSF2 BsmtUnfSF
TotalBsmtSF Heating HeatingQC CentralAir Electrical 1stFlrSF 2ndFlrSF LowQualFinSF GrLivArea
BsmtFullBath BsmtHalfBath FullBath HalfBath BedroomAbvGr KitchenAbvGr KitchenQual TotRmsAbvGrd
Functional Fireplaces FireplaceQu GarageType GarageYrBlt GarageFinish GarageCars GarageArea
GarageQual GarageCond PavedDrive WoodDeckSF OpenPorchSF EnclosedPorch 3SsnPorch ScreenPorch
PoolArea PoolQC Fence MiscFeature MiscVal MoSold YrSold SaleType SaleCondition SalePrice
"""
)


def write_train(path: Path) -> None:
    """Writes the houses whose prices are known."""
    _write(path, _COLUMNS, 0, _NUM_TRAIN)


def write_test(path: Path) -> None:
    """Writes the houses whose prices are to be predicted."""
    _write(path, _COLUMNS[:-1], _NUM_TRAIN, _NUM_TEST)


def _write(path: Path, columns: list[str], num_before: int, num_rows: int) -> None:
    rng = random.Random(num_before)
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, columns, extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        for i in range(num_rows):
            writer.writerow(_house(rng) | {"Id": num_before + i + 1})


def _weights(text: str) -> tuple[list[str], list[float]]:
    """Names and numbers of "name:number name:number"; a name has _ for a space."""
    pairs = [entry.rpartition(":") for entry in text.split()]
    return [name.replace("_", " ") for name, _, _ in pairs], [float(n) for *_, n in pairs]


_DRAWN = {
    name: _weights(text)
    for name, text in (line.split(maxsplit=1) for line in _CATEGORIES.strip().splitlines())
}
_PLACES = dict(zip(*_weights(_NEIGHBORHOODS), strict=True))


def _house(rng: random.Random) -> House:
    """One house, with its price."""
    drawn = _DRAWN.items()
    house: House = {name: rng.choices(*choices)[0] for name, choices in drawn}
    place = rng.choice(list(_PLACES))
    style = rng.choices(list(_STYLES), (50, 30, 11, 1, 0.8, 0.8, 3, 4))[0]
    floors, kind = _STYLES[style]
    quality = _within(rng.gauss(6.1 + _PLACES[place] / 15, 1.2), 1, 10)
    built = _within(rng.gauss(1945 + 5 * quality, 24), 1872, 2010)
    remodeled = max(built, 1950, rng.choice((built, rng.randint(1950, 2010))))
    ground = _within(
        rng.lognormvariate(6.45 + 0.08 * quality - 0.2 * (floors > 1), 0.22), 334, 4700
    )
    upper = round((floors - 1) * ground * rng.uniform(0.7, 1))
    area = ground + upper
    cars = _within(rng.gauss(0.1 + 0.28 * quality, 0.6), 1, 4)
    fireplaces = _within(rng.gauss(quality / 9, 0.6), 0, 3)
    lot = _within(rng.lognormvariate(9.1, 0.4), 1300, 215245)
    house |= {
        "MSSubClass": kind,
        "LotFrontage": _or_missing(rng, 0.17, _within(rng.gauss(0.42 * lot**0.55, 9), 21, 313)),
        "LotArea": lot,
        "Neighborhood": place,
        "HouseStyle": style,
        "OverallQual": quality,
        "OverallCond": _within(rng.gauss(5.6, 1.1), 1, 9),
        "YearBuilt": built,
        "YearRemodAdd": remodeled,
        "MasVnrArea": _MISSING if house["MasVnrType"] == _MISSING else 0,
        "ExterQual": _grade(rng, quality),
        "KitchenQual": _or_missing(rng, 0.0005, _grade(rng, quality)),
        "1stFlrSF": ground,
        "2ndFlrSF": upper,
        "LowQualFinSF": rng.choices((0, rng.randint(50, 550)), (98, 2))[0],
        "GrLivArea": area,
        "FullBath": _within(area / 900 + rng.gauss(0, 0.4), 1, 3),
        "HalfBath": _within(upper / 1500 + rng.gauss(0.1, 0.3), 0, 2),
        "BedroomAbvGr": _within(area / 520 + rng.gauss(0, 0.6), 1, 8),
        "KitchenAbvGr": rng.choices((1, 2), (95, 5))[0],
        "TotRmsAbvGrd": _within(area / 235 + rng.gauss(0, 0.8), 3, 14),
        "Fireplaces": fireplaces,
        "FireplaceQu": rng.choices(("Ex", "Fa", "Gd", "Po", "TA"), (2, 4, 49, 3, 41))[0],
        "GarageYrBlt": rng.choice((built, remodeled)),
        "GarageCars": cars,
        "GarageArea": cars * 180 + rng.randint(40, 180),
        "GarageQual": rng.choices(("Ex", "Fa", "Gd", "Po", "TA"), (0.3, 3, 1, 0.3, 95))[0],
        "WoodDeckSF": rng.choice((0, rng.randint(20, 400))),
        "OpenPorchSF": rng.choice((0, rng.randint(4, 180))),
        "PoolArea": 0 if house["PoolQC"] == _MISSING else rng.randint(144, 800),
        "MiscVal": 0 if house["MiscFeature"] == _MISSING else rng.randint(50, 3500),
        "MoSold": rng.choices(range(1, 13), (4, 4, 7, 10, 14, 17, 16, 8, 4, 6, 5, 4))[0],
        "YrSold": rng.choice(range(2006, 2011)),
    }
    for name in ("EnclosedPorch", "3SsnPorch", "ScreenPorch"):
        house[name] = rng.choices((0, rng.randint(40, 300)), (92, 8))[0]
    if house["MasVnrType"] in ("BrkCmn", "BrkFace", "Stone"):
        house["MasVnrArea"] = rng.randint(16, 600)
    if not fireplaces:
        house["FireplaceQu"] = _MISSING
    if house["GarageType"] == _MISSING:
        house |= dict.fromkeys(
            ("GarageYrBlt", "GarageFinish", "GarageQual", "GarageCond"), _MISSING
        )
        house |= {"GarageCars": 0, "GarageArea": 0}
    house |= _cellar(rng, house, quality, ground)
    house["SalePrice"] = round(math.exp(_log_price(house, place) + rng.gauss(0, 0.1)) / 100) * 100
    return house


def _cellar(rng: random.Random, house: House, quality: int, ground: int) -> House:
    """What belongs to a cellar: all of it is missing, or 0, where there is none."""
    names = ("BsmtQual", "BsmtCond", "BsmtExposure", "BsmtFinType1", "BsmtFinType2")
    if house["BsmtCond"] == _MISSING:
        sizes = ("BsmtFinSF1", "BsmtFinSF2", "BsmtUnfSF", "TotalBsmtSF", "BsmtFullBath")
        return dict.fromkeys(names, _MISSING) | dict.fromkeys((*sizes, "BsmtHalfBath"), 0)
    total = round(ground * rng.uniform(0.8, 1))
    share = 0 if house["BsmtFinType1"] in ("Unf", _MISSING) else rng.uniform(0.1, 0.9)
    second = 0 if house["BsmtFinType2"] in ("Unf", _MISSING) else rng.uniform(0, 0.3)
    finished = round(total * share), round(total * (1 - share) * second)
    return {
        "BsmtQual": _grade(rng, quality),
        "BsmtFinSF1": finished[0],
        "BsmtFinSF2": finished[1],
        "BsmtUnfSF": total - sum(finished),
        "TotalBsmtSF": total,
        "BsmtFullBath": int(share > 0.4),
        "BsmtHalfBath": rng.choices((0, 1), (94, 6))[0],
    }


def _log_price(house: House, place: str) -> float:
    """The natural logarithm of a price in dollars, before chance."""
    result: float = (
        7.45
        + 0.42 * math.log(house["GrLivArea"])
        + 0.085 * house["OverallQual"]
        + 0.04 * house["OverallCond"]
        + 0.0022 * (house["YearBuilt"] - 1950)
        + 0.0012 * (house["YearRemodAdd"] - 1950)
        + 0.00009 * house["TotalBsmtSF"]
        + 0.00008 * house["BsmtFinSF1"]
        + 0.05 * math.log(house["LotArea"])
        + 0.045 * house["GarageCars"]
        + 0.04 * house["Fireplaces"]
        + 0.07 * (house["CentralAir"] == "Y")
        + {"Ex": 0.08, "Gd": 0.03}.get(house["KitchenQual"], 0)
        + {"Abnorml": -0.1, "Partial": 0.05}.get(house["SaleCondition"], 0)
        + _PLACES[place] / 100
    )
    return result


def _grade(rng: random.Random, quality: int) -> str:
    """A grade in words that goes with a quality from 1 to 10."""
    level = _within((quality - 1) / 3 + rng.gauss(0, 0.4), 0, 3)
    return ("Fa", "TA", "Gd", "Ex")[level]


def _within(value: float, low: int, high: int) -> int:
    """The nearest whole number within limits."""
    return min(max(round(value), low), high)


def _or_missing(rng: random.Random, share: float, value: Any) -> Any:
    return _MISSING if rng.random() < share else value
