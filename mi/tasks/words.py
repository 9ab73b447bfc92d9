"""Word lists of the generators, without their leading space. What a tokenizer lacks is left out by `vocabulary`."""

FEMALE_NAMES = tuple(
    """
    Mary Sarah Emily Anna Emma Laura Lisa Julia Kate Jane Alice Amy Rachel Jessica Susan Helen Linda Karen Nancy Maria
    Elizabeth Anne Jennifer Michelle Rebecca Lucy Grace Ruth Martha Rose Diana Catherine Clara Ellen Eva Hannah Julie
    Margaret Olivia Sophie Victoria Barbara Angela Melissa Amanda Christine Heather Nicole Stephanie Claire Betty Carol
    Sara Lauren Megan Katie Erin Charlotte Caroline Molly Lily Ellie Annie Sally
    """.split()
)

MALE_NAMES = tuple(
    """
    John James Robert Michael William David Richard Thomas Charles Daniel Matthew Anthony Mark Paul Steven Andrew George
    Kevin Brian Edward Ronald Jeff Ryan Jacob Gary Nicholas Eric Jonathan Stephen Larry Justin Scott Frank Benjamin
    Gregory Samuel Raymond Patrick Alexander Jack Dennis Jerry Tyler Aaron Henry Adam Nathan Peter Walter Harold Jeremy
    Carl Roger Arthur Albert Joe Ethan Bruce Tim Tom Fred Simon Philip Victor Timmy
    """.split()
)

NAMES = FEMALE_NAMES + MALE_NAMES

PLACES = tuple(
    """
    store park school garden office house station market beach library museum hospital church restaurant bank hotel
    farm theater lake river bridge village castle airport gym zoo
    """.split()
)

OBJECTS = tuple(
    """
    book drink ring ball box letter key bag cup flower phone pen coat hat gift ticket map computer camera bottle knife
    shirt toy kiss card bone coin watch
    """.split()
)

ADJECTIVES = tuple("happy sad tired angry late early busy ready sick sure proud afraid".split())

EVENTS = tuple(
    """
    war plan trial battle siege strike reign project program study journey voyage crisis conflict contract campaign
    construction debate drought empire famine revolt rule search tour treaty trend truce dispute expedition exhibition
    festival investigation mission movement operation process occupation partnership sanctions peace work raid custom
    alliance visit stay order rebellion
    """.split()
)

# Frequent words, for random sequences. Many are whole tokens even in a vocabulary of a few hundred.
COMMON = tuple(
    """
    the a to and was it of in on he she they said with that for his her had we you so but very big little day time happy
    friend play mom want saw named one once upon up be do there
    tree house water stone red blue green white black door road fire hand light night rain snow wind bird horse table
    chair bread milk sugar gold silver paper glass wood king queen doctor music story game city land sea star moon sun
    """.split()
)

CENTURIES = tuple(str(century) for century in range(11, 18))
YEARS = tuple(f"{year:02d}" for year in range(100))
