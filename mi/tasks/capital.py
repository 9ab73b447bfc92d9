"""Capitals: "Mary lives in Paris, the capital of" -> " France".

Out: pairs whose corrupted prompt names another capital of as many tokens, so that the other country becomes right. The
metric is the logit difference between the two countries at the last token. Countries of one word, and of one token.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

from mi.tasks import words
from mi.tasks.lengths import with_partner
from mi.tasks.task import Record, Task
from mi.tasks.tokenizer import Tokenizer
from mi.tasks.vocabulary import known_templates, known_words, need, single_words

NAME = "capital"

# Seats that are disputed or shared, and capitals that say their country's name, are left out.
CAPITALS = dict(
    line.split(": ")
    for line in """\
Afghanistan: Kabul
Albania: Tirana
Algeria: Algiers
Angola: Luanda
Argentina: Buenos Aires
Armenia: Yerevan
Australia: Canberra
Austria: Vienna
Azerbaijan: Baku
Bahrain: Manama
Bangladesh: Dhaka
Barbados: Bridgetown
Belarus: Minsk
Belgium: Brussels
Botswana: Gaborone
Brazil: Brasilia
Bulgaria: Sofia
Cambodia: Phnom Penh
Canada: Ottawa
Chile: Santiago
China: Beijing
Colombia: Bogota
Croatia: Zagreb
Cuba: Havana
Cyprus: Nicosia
Denmark: Copenhagen
Ecuador: Quito
Egypt: Cairo
Eritrea: Asmara
Estonia: Tallinn
Ethiopia: Addis Ababa
Fiji: Suva
Finland: Helsinki
France: Paris
Gabon: Libreville
Gambia: Banjul
Georgia: Tbilisi
Germany: Berlin
Ghana: Accra
Greece: Athens
Guinea: Conakry
Honduras: Tegucigalpa
Hungary: Budapest
Iceland: Reykjavik
India: New Delhi
Indonesia: Jakarta
Iran: Tehran
Iraq: Baghdad
Ireland: Dublin
Italy: Rome
Jamaica: Kingston
Japan: Tokyo
Jordan: Amman
Kazakhstan: Astana
Kenya: Nairobi
Laos: Vientiane
Latvia: Riga
Lebanon: Beirut
Liberia: Monrovia
Libya: Tripoli
Lithuania: Vilnius
Madagascar: Antananarivo
Malawi: Lilongwe
Malaysia: Kuala Lumpur
Mali: Bamako
Malta: Valletta
Moldova: Chisinau
Mongolia: Ulaanbaatar
Morocco: Rabat
Mozambique: Maputo
Namibia: Windhoek
Nepal: Kathmandu
Nicaragua: Managua
Niger: Niamey
Nigeria: Abuja
Norway: Oslo
Oman: Muscat
Pakistan: Islamabad
Peru: Lima
Poland: Warsaw
Portugal: Lisbon
Qatar: Doha
Romania: Bucharest
Russia: Moscow
Rwanda: Kigali
Senegal: Dakar
Serbia: Belgrade
Slovakia: Bratislava
Slovenia: Ljubljana
Somalia: Mogadishu
Spain: Madrid
Sudan: Khartoum
Sweden: Stockholm
Switzerland: Bern
Syria: Damascus
Taiwan: Taipei
Tanzania: Dodoma
Thailand: Bangkok
Tunisia: Tunis
Turkey: Ankara
Uganda: Kampala
Ukraine: Kyiv
Uruguay: Montevideo
Uzbekistan: Tashkent
Venezuela: Caracas
Vietnam: Hanoi
Yemen: Sanaa
Zambia: Lusaka
Zimbabwe: Harare""".splitlines()
)

TEMPLATES = (
    "{name} lives in {capital}, the capital of",
    "{name} was born in {capital}, the capital of",
    "Last year {name} moved to {capital}, the capital of",
    "{name} has never been to {capital}, the capital of",
    "Yesterday {name} flew to {capital}, the capital of",
    "After the meeting in {capital}, the capital of",
    "The museum that {name} likes is in {capital}, the capital of",
    "{name} sent us a letter from {capital}, the capital of",
    "This summer {name} will visit {capital}, the capital of",
    "The city of {capital} is the capital of",
    "{name} told us that {capital} is the capital of",
    "At school {name} learned that {capital} is the capital of",
)

LEAST = 2


def generate(tokenizer: Tokenizer, rng: random.Random, counterfactual: str) -> Iterator[Record]:
    countries = single_words(CAPITALS, tokenizer)
    need(countries, LEAST, "countries of one token", NAME, tokenizer)
    country_of = {CAPITALS[country]: country for country in countries}
    partners = with_partner(list(country_of), list(country_of), tokenizer)
    capitals = need(tuple(partners), LEAST, "capitals of equal length", NAME, tokenizer)
    templates = need(known_templates(TEMPLATES, tokenizer), 1, "template", NAME, tokenizer)
    names = need(known_words(words.NAMES, tokenizer), 1, "name", NAME, tokenizer)
    while True:
        template, name, capital = rng.choice(templates), rng.choice(names), rng.choice(capitals)
        other = rng.choice(partners[capital])
        yield {
            "clean": template.format(name=name, capital=capital),
            "corrupted": template.format(name=name, capital=other),
            "answers": [f" {country_of[capital]}"],
            "foils": [f" {country_of[other]}"],
            "template": f"{TEMPLATES.index(template) + 1:02d}",
            "variables": {"capital": capital, "other_capital": other},
        }


TASK = Task(
    name=NAME,
    version=1,
    metric="logit-diff",
    counterfactuals=("other-capital",),
    summary="the country of a capital: Mary lives in Paris, the capital of -> France",
    generate=generate,
)
