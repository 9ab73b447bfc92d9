# Completion of mi for fish. Written by completions/generate.py: change that, not this.
# Use it with: cp completions/mi.fish ~/.config/fish/completions/

complete -c mi -f
complete -c mi -n __fish_use_subcommand -a data -d 'make or read examples of a task, or keep those the model gets right'
complete -c mi -n __fish_use_subcommand -a cache -d 'run the model on clean and corrupted inputs; starts a pipe'
complete -c mi -n __fish_use_subcommand -a attribute -d 'score every edge of the model\'s graph'
complete -c mi -n __fish_use_subcommand -a prune -d 'keep the edges that matter: scores in, circuit out'
complete -c mi -n __fish_use_subcommand -a score -d 'measure how faithful a circuit is, or the curve over sizes'
complete -c mi -n __fish_use_subcommand -a pipe -d 'run several stages in one process: \'cache ! attribute ! prune\''
complete -c mi -n __fish_use_subcommand -a patch -d 'put one activation of the other run into this one: where to look'
complete -c mi -n __fish_use_subcommand -a search -d 'find a circuit by trying edges, or by learning a mask'
complete -c mi -n __fish_use_subcommand -a merge -d 'make one ranking of several: an ensemble of scores'
complete -c mi -n __fish_use_subcommand -a set -d 'join circuits, or take one from another'
complete -c mi -n __fish_use_subcommand -a eval -d 'hold scores against a circuit that is known'
complete -c mi -n __fish_use_subcommand -a check -d 'is a report as good as its baseline? for CI'
complete -c mi -n __fish_use_subcommand -a diff -d 'what differs between two circuits, scores, reports or models'
complete -c mi -n __fish_use_subcommand -a view -d 'show a stream as a table'
complete -c mi -n __fish_use_subcommand -a graph -d 'draw a circuit: SVG, HTML, DOT or PNG'
complete -c mi -n __fish_use_subcommand -a plot -d 'plot reports, scores or effects, as a picture or as text'
complete -c mi -n __fish_use_subcommand -a report -d 'a circuit and its reports as one page for a reviewer'
complete -c mi -n __fish_use_subcommand -a head -d 'keep the first records of a stream'
complete -c mi -n __fish_use_subcommand -a cat -d 'join several sets of examples into one'
complete -c mi -n __fish_use_subcommand -a split -d 'take a set of examples apart, by a field or at random'
complete -c mi -n __fish_use_subcommand -a log -d 'show the commands that made a stream, or a script that repeats them'
complete -c mi -n __fish_use_subcommand -a verify -d 'check the digests of streams and of their tensors'
complete -c mi -n __fish_use_subcommand -a stamp -d 'seal a stream again after an edit'
complete -c mi -n __fish_use_subcommand -a pack -d 'copy a stream together with its tensors'
complete -c mi -n __fish_use_subcommand -a schema -d 'print the JSON Schema of a kind of stream'
complete -c mi -n __fish_use_subcommand -a import -d 'read scores and circuits that other tools wrote'
complete -c mi -n __fish_use_subcommand -a export -d 'write scores and circuits for other tools'
complete -c mi -n __fish_use_subcommand -a push -d 'put a stream into a repository of the hub, or a folder'
complete -c mi -n __fish_use_subcommand -a pull -d 'get a stream from there, verified'
complete -c mi -n __fish_use_subcommand -a mib -d 'run a cell of the MIB benchmark, or collect its results'
complete -c mi -n __fish_use_subcommand -a info -d 'versions, devices, tasks and methods, or the sites of a model'
complete -c mi -n __fish_use_subcommand -a adapter -d 'the architectures that mi knows, and how to make it know another'
complete -c mi -n __fish_use_subcommand -a gc -d 'empty the store of tensors that are old or too many'
complete -c mi -n __fish_use_subcommand -a help -d 'show the help of a command'
complete -c mi -n __fish_use_subcommand -l help -s h -d 'show all commands'
complete -c mi -n __fish_use_subcommand -l version -s V -d 'show the version'

complete -c mi -n '__fish_seen_subcommand_from data; and not __fish_seen_subcommand_from filter; and not __fish_seen_subcommand_from circuit' -a filter -d 'keep the examples that a model gets right, and say how many that is'
complete -c mi -n '__fish_seen_subcommand_from data; and not __fish_seen_subcommand_from filter; and not __fish_seen_subcommand_from circuit' -a circuit -d 'write a circuit of the literature: which edges people found by hand, to hold scores against'
complete -c mi -n '__fish_seen_subcommand_from data; and not __fish_seen_subcommand_from filter; and not __fish_seen_subcommand_from circuit' -a 'ioi greater-than pronoun induction docstring capital sva arithmetic mcqa gender-bias'
complete -c mi -n '__fish_seen_subcommand_from data; and not __fish_seen_subcommand_from filter; and not __fish_seen_subcommand_from circuit' -l from -d 'Read examples that another tool wrote; the format is found by content. PEAP needs two files.' -r -F
complete -c mi -n '__fish_seen_subcommand_from data; and not __fish_seen_subcommand_from filter; and not __fish_seen_subcommand_from circuit' -l number -s n -d 'Examples of each split: to make (100 if not given), or the first N of a file.' -x
complete -c mi -n '__fish_seen_subcommand_from data; and not __fish_seen_subcommand_from filter; and not __fish_seen_subcommand_from circuit' -l seed -d 'Seed of everything random.' -x
complete -c mi -n '__fish_seen_subcommand_from data; and not __fish_seen_subcommand_from filter; and not __fish_seen_subcommand_from circuit' -l counterfactual -d 'How the clean prompt is corrupted.' -x -a 's2-io-flip abc random-names s1-io-flip s1-ioi-flip-s2-ioi-flip random-names-s1-io-flip random-names-s2-io-flip random-names-s1-ioi-flip-s2-ioi-flip year-01 other-gender other-name context-swap answer-swap query-swap random-random random-def random-doc random-answer random-answer-doc other-capital number-flip attractor-flip both-flip random ones-op1 ones-op2 tens-op1 tens-op2 ones-carry tens-carry symbol answer-position random-letter answer-position-random-letter color noun-color noun gendered-noun other-stereotype'
complete -c mi -n '__fish_seen_subcommand_from data; and not __fish_seen_subcommand_from filter; and not __fish_seen_subcommand_from circuit' -l split -d 'train, validation, test, or all. A task makes train and validation, a file gives all it has.' -x -a 'train validation test all'
complete -c mi -n '__fish_seen_subcommand_from data; and not __fish_seen_subcommand_from filter; and not __fish_seen_subcommand_from circuit' -l model -s m -d 'A folder, a hub identifier, or the name of an embedded model.' -r -a 'default planted' -F
complete -c mi -n '__fish_seen_subcommand_from data; and not __fish_seen_subcommand_from filter; and not __fish_seen_subcommand_from circuit' -l revision -d 'Commit, tag or branch of a hub model.' -x
complete -c mi -n '__fish_seen_subcommand_from data; and not __fish_seen_subcommand_from filter; and not __fish_seen_subcommand_from circuit' -l skip -d 'Leave out rows of a file that cannot be used, and say how many.'
complete -c mi -n '__fish_seen_subcommand_from data; and not __fish_seen_subcommand_from filter; and not __fish_seen_subcommand_from circuit' -l list -d 'List the tasks and the file formats.'
complete -c mi -n '__fish_seen_subcommand_from data; and not __fish_seen_subcommand_from filter; and not __fish_seen_subcommand_from circuit' -l output -s o -d 'Write to FILE, whole or not at all; tensors lie beside it.' -r -F
complete -c mi -n '__fish_seen_subcommand_from data; and not __fish_seen_subcommand_from filter; and not __fish_seen_subcommand_from circuit' -l json -d 'Write the stream itself on a terminal too, not a table.'
complete -c mi -n '__fish_seen_subcommand_from data; and not __fish_seen_subcommand_from filter; and not __fish_seen_subcommand_from circuit' -l quiet -s q -d 'No notes and no progress on stderr.'
complete -c mi -n '__fish_seen_subcommand_from data; and not __fish_seen_subcommand_from filter; and not __fish_seen_subcommand_from circuit' -l help -s h -d 'Show this message and exit.'
complete -c mi -n '__fish_seen_subcommand_from data; and __fish_seen_subcommand_from filter' -F
complete -c mi -n '__fish_seen_subcommand_from data; and __fish_seen_subcommand_from filter' -l model -s m -d 'A folder, a hub identifier, or the name of an embedded model.' -r -a 'default planted' -F
complete -c mi -n '__fish_seen_subcommand_from data; and __fish_seen_subcommand_from filter' -l revision -d 'Commit, tag or branch of a hub model.' -x
complete -c mi -n '__fish_seen_subcommand_from data; and __fish_seen_subcommand_from filter' -l bos -d 'Put the tokenizer\'s beginning-of-sequence token before text, or never.' -x -a 'auto never'
complete -c mi -n '__fish_seen_subcommand_from data; and __fish_seen_subcommand_from filter' -l device -d 'auto, cpu, cuda, cuda:N or mps.' -x -a 'auto cpu cuda mps'
complete -c mi -n '__fish_seen_subcommand_from data; and __fish_seen_subcommand_from filter' -l dtype -d 'Number format of weights and activations.' -x -a 'auto float32 bfloat16 float16 float64'
complete -c mi -n '__fish_seen_subcommand_from data; and __fish_seen_subcommand_from filter' -l tf32 -d 'Allow TF32 in matrix products on a GPU.'
complete -c mi -n '__fish_seen_subcommand_from data; and __fish_seen_subcommand_from filter' -l batch-size -d 'Examples run at once.' -x
complete -c mi -n '__fish_seen_subcommand_from data; and __fish_seen_subcommand_from filter' -l memory-budget -d 'Memory over the weights to work in: batches and what is made wide at once are cut to it.' -x
complete -c mi -n '__fish_seen_subcommand_from data; and __fish_seen_subcommand_from filter' -l executor -d 'How the model is run: plain hooks, or nnsight\'s traces.' -x -a 'auto fast generic'
complete -c mi -n '__fish_seen_subcommand_from data; and __fish_seen_subcommand_from filter' -l device-map -d 'Spread the model over devices and a disk: auto, balanced, balanced_low_0, sequential, or a JSON file.' -x
complete -c mi -n '__fish_seen_subcommand_from data; and __fish_seen_subcommand_from filter' -l trust-remote-code -d 'Run code that comes with the model; needs a pinned --revision.'
complete -c mi -n '__fish_seen_subcommand_from data; and __fish_seen_subcommand_from filter' -l allow-pickle -d 'Accept weights that are not safetensors, tensors only.'
complete -c mi -n '__fish_seen_subcommand_from data; and __fish_seen_subcommand_from filter' -l adapter -d 'Roles of an architecture that mi does not know (\'mi adapter probe\' writes them).' -r -F
complete -c mi -n '__fish_seen_subcommand_from data; and __fish_seen_subcommand_from filter' -l output -s o -d 'Write to FILE, whole or not at all; tensors lie beside it.' -r -F
complete -c mi -n '__fish_seen_subcommand_from data; and __fish_seen_subcommand_from filter' -l json -d 'Write the stream itself on a terminal too, not a table.'
complete -c mi -n '__fish_seen_subcommand_from data; and __fish_seen_subcommand_from filter' -l quiet -s q -d 'No notes and no progress on stderr.'
complete -c mi -n '__fish_seen_subcommand_from data; and __fish_seen_subcommand_from filter' -l dry-run -d 'Say what would be done, and do nothing.'
complete -c mi -n '__fish_seen_subcommand_from data; and __fish_seen_subcommand_from filter' -l help -s h -d 'Show this message and exit.'
complete -c mi -n '__fish_seen_subcommand_from data; and __fish_seen_subcommand_from circuit' -l output -s o -d 'Write to FILE, whole or not at all; tensors lie beside it.' -r -F
complete -c mi -n '__fish_seen_subcommand_from data; and __fish_seen_subcommand_from circuit' -l json -d 'Write the stream itself on a terminal too, not a table.'
complete -c mi -n '__fish_seen_subcommand_from data; and __fish_seen_subcommand_from circuit' -l quiet -s q -d 'No notes and no progress on stderr.'
complete -c mi -n '__fish_seen_subcommand_from data; and __fish_seen_subcommand_from circuit' -l help -s h -d 'Show this message and exit.'

complete -c mi -n '__fish_seen_subcommand_from cache' -F
complete -c mi -n '__fish_seen_subcommand_from cache' -l model -s m -d 'A folder, a hub identifier, or the name of an embedded model.' -r -a 'default planted' -F
complete -c mi -n '__fish_seen_subcommand_from cache' -l revision -d 'Commit, tag or branch of a hub model.' -x
complete -c mi -n '__fish_seen_subcommand_from cache' -l task -d 'Make examples of this task (\'mi info\' lists them).' -x -a 'ioi greater-than pronoun induction docstring capital sva arithmetic mcqa gender-bias'
complete -c mi -n '__fish_seen_subcommand_from cache' -l data -d 'Take the examples from FILE.' -r -F
complete -c mi -n '__fish_seen_subcommand_from cache' -l number -s n -d 'Examples to make for each split; the default is 100.' -x
complete -c mi -n '__fish_seen_subcommand_from cache' -l seed -d 'Seed of everything random.' -x
complete -c mi -n '__fish_seen_subcommand_from cache' -l counterfactual -d 'How the clean prompt is corrupted.' -x -a 's2-io-flip abc random-names s1-io-flip s1-ioi-flip-s2-ioi-flip random-names-s1-io-flip random-names-s2-io-flip random-names-s1-ioi-flip-s2-ioi-flip year-01 other-gender other-name context-swap answer-swap query-swap random-random random-def random-doc random-answer random-answer-doc other-capital number-flip attractor-flip both-flip random ones-op1 ones-op2 tens-op1 tens-op2 ones-carry tens-carry symbol answer-position random-letter answer-position-random-letter color noun-color noun gendered-noun other-stereotype'
complete -c mi -n '__fish_seen_subcommand_from cache' -l limit -d 'Use the first N examples of each split only.' -x
complete -c mi -n '__fish_seen_subcommand_from cache' -l bos -d 'Put the tokenizer\'s beginning-of-sequence token before text, or never.' -x -a 'auto never'
complete -c mi -n '__fish_seen_subcommand_from cache' -l answers -d 'Refuse answers of several tokens, or count the first token of each.' -x -a 'single first-token'
complete -c mi -n '__fish_seen_subcommand_from cache' -l metric -d 'What is measured at the answer; the default is the task\'s own.' -x -a 'logit-diff prob-diff logit class-prob class-logprob normalised-logit kl js accuracy top-1 top-5 top-10'
complete -c mi -n '__fish_seen_subcommand_from cache' -l site -d 'Keep this activation too, or all that a pattern means (repeatable); \'mi info -m\' lists them.' -x
complete -c mi -n '__fish_seen_subcommand_from cache' -l positions -d 'Keep sites at every position (if not given), or where the metric reads.' -x -a 'all read'
complete -c mi -n '__fish_seen_subcommand_from cache' -l runs -d 'Keep sites of the clean run (if not given), the corrupted, or both.' -x -a 'clean corrupted both'
complete -c mi -n '__fish_seen_subcommand_from cache' -l means -d 'Write the mean of what each node writes instead, for --ablation mean.'
complete -c mi -n '__fish_seen_subcommand_from cache' -l by-position -d 'With --means: a mean for each position, for --ablation mean-positional.'
complete -c mi -n '__fish_seen_subcommand_from cache' -l text -d 'With --means: average over this text; - is stdin.' -r -F
complete -c mi -n '__fish_seen_subcommand_from cache' -l window -d 'With --text: tokens of a window (128).' -x
complete -c mi -n '__fish_seen_subcommand_from cache' -l device -d 'auto, cpu, cuda, cuda:N or mps.' -x -a 'auto cpu cuda mps'
complete -c mi -n '__fish_seen_subcommand_from cache' -l dtype -d 'Number format of weights and activations.' -x -a 'auto float32 bfloat16 float16 float64'
complete -c mi -n '__fish_seen_subcommand_from cache' -l tf32 -d 'Allow TF32 in matrix products on a GPU.'
complete -c mi -n '__fish_seen_subcommand_from cache' -l tensor-parallel -d 'Cut the model up among the processes that torchrun started: all hold it together.'
complete -c mi -n '__fish_seen_subcommand_from cache' -l batch-size -d 'Examples run at once.' -x
complete -c mi -n '__fish_seen_subcommand_from cache' -l memory-budget -d 'Memory over the weights to work in: batches and what is made wide at once are cut to it.' -x
complete -c mi -n '__fish_seen_subcommand_from cache' -l executor -d 'How the model is run: plain hooks, or nnsight\'s traces.' -x -a 'auto fast generic'
complete -c mi -n '__fish_seen_subcommand_from cache' -l remote -d 'Run the model on NDIF, and only its sites; \'local\' rehearses that here.' -x
complete -c mi -n '__fish_seen_subcommand_from cache' -l device-map -d 'Spread the model over devices and a disk: auto, balanced, balanced_low_0, sequential, or a JSON file.' -x
complete -c mi -n '__fish_seen_subcommand_from cache' -l trust-remote-code -d 'Run code that comes with the model; needs a pinned --revision.'
complete -c mi -n '__fish_seen_subcommand_from cache' -l allow-pickle -d 'Accept weights that are not safetensors, tensors only.'
complete -c mi -n '__fish_seen_subcommand_from cache' -l adapter -d 'Roles of an architecture that mi does not know (\'mi adapter probe\' writes them).' -r -F
complete -c mi -n '__fish_seen_subcommand_from cache' -l output -s o -d 'Write to FILE, whole or not at all; tensors lie beside it.' -r -F
complete -c mi -n '__fish_seen_subcommand_from cache' -l json -d 'Write the stream itself on a terminal too, not a table.'
complete -c mi -n '__fish_seen_subcommand_from cache' -l quiet -s q -d 'No notes and no progress on stderr.'
complete -c mi -n '__fish_seen_subcommand_from cache' -l dry-run -d 'Say what would be done, and do nothing.'
complete -c mi -n '__fish_seen_subcommand_from cache' -l fresh -d 'Do the work even if its result is in the store.'
complete -c mi -n '__fish_seen_subcommand_from cache' -l help -s h -d 'Show this message and exit.'

complete -c mi -n '__fish_seen_subcommand_from attribute' -F
complete -c mi -n '__fish_seen_subcommand_from attribute' -l method -d 'How to score; \'mi info\' says what each method is.' -x -a 'eap eap-ig eap-ig-activations clean-corrupted nap nap-ig relp atp-star hisp ifr exact'
complete -c mi -n '__fish_seen_subcommand_from attribute' -l level -d 'What to score; the default is the method\'s own, mostly edge.' -x -a 'edge node neuron site'
complete -c mi -n '__fish_seen_subcommand_from attribute' -l site -d 'Of the level site: score this module\'s input or output, or all that a pattern means (repeatable; **:output).' -x
complete -c mi -n '__fish_seen_subcommand_from attribute' -l steps -d 'Steps of a method that interpolates (5).' -x
complete -c mi -n '__fish_seen_subcommand_from attribute' -l rule -d 'Where it takes its steps; the default is the reference\'s.' -x -a 'left right midpoint trapezoid'
complete -c mi -n '__fish_seen_subcommand_from attribute' -l direction -d 'Of exact: corrupt one in the clean run, or restore one.' -x -a 'noising denoising'
complete -c mi -n '__fish_seen_subcommand_from attribute' -l backward -d 'Of relp: its rules, of ln, identity, half and pattern (ln,identity,half).' -x
complete -c mi -n '__fish_seen_subcommand_from attribute' -l on -d 'Of exact: look only at what these rank highest.' -x
complete -c mi -n '__fish_seen_subcommand_from attribute' -l top -d 'How many of SCORES to look at (500).' -x
complete -c mi -n '__fish_seen_subcommand_from attribute' -l missed-bound -d 'Of exact: bound the effects of all others too, from N random subsets of them.' -x
complete -c mi -n '__fish_seen_subcommand_from attribute' -l normalise-layers -d 'Of hisp: divide the scores of each layer by their L2 norm.'
complete -c mi -n '__fish_seen_subcommand_from attribute' -l kv -d 'Where heads share keys and values: receivers of each query head (query), or one for all that share.' -x -a 'query grouped'
complete -c mi -n '__fish_seen_subcommand_from attribute' -l ablation -d 'What takes the place of a removed edge.' -x -a 'counterfactual resample zero mean mean-positional optimal'
complete -c mi -n '__fish_seen_subcommand_from attribute' -l means -d 'Replace by the constants in FILE (from \'mi cache --means\', or learned).' -r -F
complete -c mi -n '__fish_seen_subcommand_from attribute' -l seed -d 'Seed of everything random.' -x
complete -c mi -n '__fish_seen_subcommand_from attribute' -l metric -d 'What is measured at the answer; the default is the task\'s own.' -x -a 'logit-diff prob-diff logit class-prob class-logprob normalised-logit kl js accuracy top-1 top-5 top-10'
complete -c mi -n '__fish_seen_subcommand_from attribute' -l shard -d 'Score only the I-th of N parts of the examples; \'mi merge --sum\' joins them.' -x
complete -c mi -n '__fish_seen_subcommand_from attribute' -l compat -d 'Give the numbers of the MIB code, mistakes included.' -x -a 'mib'
complete -c mi -n '__fish_seen_subcommand_from attribute' -l split -d 'Examples to use: train, validation, test or all.' -x -a 'train validation test all'
complete -c mi -n '__fish_seen_subcommand_from attribute' -l limit -d 'Use the first N examples of each split only.' -x
complete -c mi -n '__fish_seen_subcommand_from attribute' -l model -s m -d 'A folder, a hub identifier, or the name of an embedded model.' -r -a 'default planted' -F
complete -c mi -n '__fish_seen_subcommand_from attribute' -l revision -d 'Commit, tag or branch of a hub model.' -x
complete -c mi -n '__fish_seen_subcommand_from attribute' -l bos -d 'Put the tokenizer\'s beginning-of-sequence token before text, or never.' -x -a 'auto never'
complete -c mi -n '__fish_seen_subcommand_from attribute' -l device -d 'auto, cpu, cuda, cuda:N or mps.' -x -a 'auto cpu cuda mps'
complete -c mi -n '__fish_seen_subcommand_from attribute' -l dtype -d 'Number format of weights and activations.' -x -a 'auto float32 bfloat16 float16 float64'
complete -c mi -n '__fish_seen_subcommand_from attribute' -l tf32 -d 'Allow TF32 in matrix products on a GPU.'
complete -c mi -n '__fish_seen_subcommand_from attribute' -l tensor-parallel -d 'Cut the model up among the processes that torchrun started: all hold it together.'
complete -c mi -n '__fish_seen_subcommand_from attribute' -l batch-size -d 'Examples run at once.' -x
complete -c mi -n '__fish_seen_subcommand_from attribute' -l memory-budget -d 'Memory over the weights to work in: batches and what is made wide at once are cut to it.' -x
complete -c mi -n '__fish_seen_subcommand_from attribute' -l executor -d 'How the model is run: plain hooks, or nnsight\'s traces.' -x -a 'auto fast generic'
complete -c mi -n '__fish_seen_subcommand_from attribute' -l remote -d 'Run the model on NDIF, and only its sites; \'local\' rehearses that here.' -x
complete -c mi -n '__fish_seen_subcommand_from attribute' -l device-map -d 'Spread the model over devices and a disk: auto, balanced, balanced_low_0, sequential, or a JSON file.' -x
complete -c mi -n '__fish_seen_subcommand_from attribute' -l trust-remote-code -d 'Run code that comes with the model; needs a pinned --revision.'
complete -c mi -n '__fish_seen_subcommand_from attribute' -l allow-pickle -d 'Accept weights that are not safetensors, tensors only.'
complete -c mi -n '__fish_seen_subcommand_from attribute' -l adapter -d 'Roles of an architecture that mi does not know (\'mi adapter probe\' writes them).' -r -F
complete -c mi -n '__fish_seen_subcommand_from attribute' -l output -s o -d 'Write to FILE, whole or not at all; tensors lie beside it.' -r -F
complete -c mi -n '__fish_seen_subcommand_from attribute' -l json -d 'Write the stream itself on a terminal too, not a table.'
complete -c mi -n '__fish_seen_subcommand_from attribute' -l quiet -s q -d 'No notes and no progress on stderr.'
complete -c mi -n '__fish_seen_subcommand_from attribute' -l dry-run -d 'Say what would be done, and do nothing.'
complete -c mi -n '__fish_seen_subcommand_from attribute' -l fresh -d 'Do the work even if its result is in the store.'
complete -c mi -n '__fish_seen_subcommand_from attribute' -l help -s h -d 'Show this message and exit.'

complete -c mi -n '__fish_seen_subcommand_from prune' -F
complete -c mi -n '__fish_seen_subcommand_from prune' -l top -d 'Keep the N best.' -x
complete -c mi -n '__fish_seen_subcommand_from prune' -l percent -d 'Keep the best P percent of what is scored (10 if nothing is given).' -x
complete -c mi -n '__fish_seen_subcommand_from prune' -l threshold -d 'Keep all whose score is at least T.' -x
complete -c mi -n '__fish_seen_subcommand_from prune' -l greedy -d 'Grow from the logits: N times the best edge (or node) into a node that is already in.' -x
complete -c mi -n '__fish_seen_subcommand_from prune' -l signed -d 'Rank by signed score, helpful first, not by magnitude.'
complete -c mi -n '__fish_seen_subcommand_from prune' -l exact-size -d 'Choose more until as many as were asked for are left after pruning.'
complete -c mi -n '__fish_seen_subcommand_from prune' -l ilp -d 'Find the connected circuit of that size whose scores sum to the most (integer program).'
complete -c mi -n '__fish_seen_subcommand_from prune' -l gap -d 'With --ilp: stop when the sum is proven to be within the share G of the best (0).' -x
complete -c mi -n '__fish_seen_subcommand_from prune' -l time-limit -d 'With --ilp: give up after S seconds, and say how near the best it came (300).' -x
complete -c mi -n '__fish_seen_subcommand_from prune' -l positive-ratio -d 'Give the share R of the size to the best positive scores, the rest to the largest magnitudes.' -x
complete -c mi -n '__fish_seen_subcommand_from prune' -l stable -d 'Choose only what is the same in at least the share P of bootstrap resamples of the examples.' -x
complete -c mi -n '__fish_seen_subcommand_from prune' -l stable-by -d 'With --stable: the score\'s sign (the default), or being among as many best as are asked for.' -x -a 'sign inclusion'
complete -c mi -n '__fish_seen_subcommand_from prune' -l resamples -d 'With --stable: how many (1000).' -x
complete -c mi -n '__fish_seen_subcommand_from prune' -l seed -d 'Seed of everything random.' -x
complete -c mi -n '__fish_seen_subcommand_from prune' -l strict -d 'Drop a head that no edge feeds through <v>, whatever feeds its <q> and <k>.'
complete -c mi -n '__fish_seen_subcommand_from prune' -l keep -d 'Choose these first, whatever their score. Repeatable.' -x
complete -c mi -n '__fish_seen_subcommand_from prune' -l drop -d 'Never choose these. Repeatable.' -x
complete -c mi -n '__fish_seen_subcommand_from prune' -l output -s o -d 'Write to FILE, whole or not at all; tensors lie beside it.' -r -F
complete -c mi -n '__fish_seen_subcommand_from prune' -l json -d 'Write the stream itself on a terminal too, not a table.'
complete -c mi -n '__fish_seen_subcommand_from prune' -l quiet -s q -d 'No notes and no progress on stderr.'
complete -c mi -n '__fish_seen_subcommand_from prune' -l help -s h -d 'Show this message and exit.'

complete -c mi -n '__fish_seen_subcommand_from score' -F
complete -c mi -n '__fish_seen_subcommand_from score' -l ablation -d 'What takes the place of a removed edge.' -x -a 'counterfactual resample zero mean mean-positional optimal'
complete -c mi -n '__fish_seen_subcommand_from score' -l means -d 'Replace by the constants in FILE (from \'mi cache --means\', or learned).' -r -F
complete -c mi -n '__fish_seen_subcommand_from score' -l seed -d 'Seed of everything random.' -x
complete -c mi -n '__fish_seen_subcommand_from score' -l metric -d 'What is measured at the answer; the default is the task\'s own.' -x -a 'logit-diff prob-diff logit class-prob class-logprob normalised-logit kl js accuracy top-1 top-5 top-10'
complete -c mi -n '__fish_seen_subcommand_from score' -l selector -d 'How a curve\'s circuits are chosen; the default is what the scores ask for, mostly top.' -x -a 'top greedy'
complete -c mi -n '__fish_seen_subcommand_from score' -l test -d 'Test more than faithfulness, see above; repeat it for several.' -x
complete -c mi -n '__fish_seen_subcommand_from score' -l random -d 'Random circuits that tests hold this one against (100), or random rankings (10).' -x
complete -c mi -n '__fish_seen_subcommand_from score' -l task -d 'Make examples of this task (\'mi info\' lists them).' -x -a 'ioi greater-than pronoun induction docstring capital sva arithmetic mcqa gender-bias'
complete -c mi -n '__fish_seen_subcommand_from score' -l data -d 'Take the examples from FILE.' -r -F
complete -c mi -n '__fish_seen_subcommand_from score' -l split -d 'Examples to use: train, validation, test or all.' -x -a 'train validation test all'
complete -c mi -n '__fish_seen_subcommand_from score' -l limit -d 'Use the first N examples of each split only.' -x
complete -c mi -n '__fish_seen_subcommand_from score' -l model -s m -d 'A folder, a hub identifier, or the name of an embedded model.' -r -a 'default planted' -F
complete -c mi -n '__fish_seen_subcommand_from score' -l revision -d 'Commit, tag or branch of a hub model.' -x
complete -c mi -n '__fish_seen_subcommand_from score' -l bos -d 'Put the tokenizer\'s beginning-of-sequence token before text, or never.' -x -a 'auto never'
complete -c mi -n '__fish_seen_subcommand_from score' -l device -d 'auto, cpu, cuda, cuda:N or mps.' -x -a 'auto cpu cuda mps'
complete -c mi -n '__fish_seen_subcommand_from score' -l dtype -d 'Number format of weights and activations.' -x -a 'auto float32 bfloat16 float16 float64'
complete -c mi -n '__fish_seen_subcommand_from score' -l tf32 -d 'Allow TF32 in matrix products on a GPU.'
complete -c mi -n '__fish_seen_subcommand_from score' -l tensor-parallel -d 'Cut the model up among the processes that torchrun started: all hold it together.'
complete -c mi -n '__fish_seen_subcommand_from score' -l batch-size -d 'Examples run at once.' -x
complete -c mi -n '__fish_seen_subcommand_from score' -l memory-budget -d 'Memory over the weights to work in: batches and what is made wide at once are cut to it.' -x
complete -c mi -n '__fish_seen_subcommand_from score' -l executor -d 'How the model is run: plain hooks, or nnsight\'s traces.' -x -a 'auto fast generic'
complete -c mi -n '__fish_seen_subcommand_from score' -l device-map -d 'Spread the model over devices and a disk: auto, balanced, balanced_low_0, sequential, or a JSON file.' -x
complete -c mi -n '__fish_seen_subcommand_from score' -l trust-remote-code -d 'Run code that comes with the model; needs a pinned --revision.'
complete -c mi -n '__fish_seen_subcommand_from score' -l allow-pickle -d 'Accept weights that are not safetensors, tensors only.'
complete -c mi -n '__fish_seen_subcommand_from score' -l adapter -d 'Roles of an architecture that mi does not know (\'mi adapter probe\' writes them).' -r -F
complete -c mi -n '__fish_seen_subcommand_from score' -l output -s o -d 'Write to FILE, whole or not at all; tensors lie beside it.' -r -F
complete -c mi -n '__fish_seen_subcommand_from score' -l json -d 'Write the stream itself on a terminal too, not a table.'
complete -c mi -n '__fish_seen_subcommand_from score' -l quiet -s q -d 'No notes and no progress on stderr.'
complete -c mi -n '__fish_seen_subcommand_from score' -l dry-run -d 'Say what would be done, and do nothing.'
complete -c mi -n '__fish_seen_subcommand_from score' -l fresh -d 'Do the work even if its result is in the store.'
complete -c mi -n '__fish_seen_subcommand_from score' -l help -s h -d 'Show this message and exit.'

complete -c mi -n '__fish_seen_subcommand_from pipe' -l output -s o -d 'Write to FILE, whole or not at all; tensors lie beside it.' -r -F
complete -c mi -n '__fish_seen_subcommand_from pipe' -l json -d 'Write the stream itself on a terminal too, not a table.'
complete -c mi -n '__fish_seen_subcommand_from pipe' -l quiet -s q -d 'No notes and no progress on stderr.'
complete -c mi -n '__fish_seen_subcommand_from pipe' -l help -s h -d 'Show this message and exit.'

complete -c mi -n '__fish_seen_subcommand_from patch' -F
complete -c mi -n '__fish_seen_subcommand_from patch' -l site -d 'What is patched in every layer: resid_pre (the default), resid_mid, resid_post, attn_out, mlp_out, z, q, k or v. Or any module\'s input or output, a name or a pattern (repeatable): \'model.layers.*:output\'.' -x
complete -c mi -n '__fish_seen_subcommand_from patch' -l by -d 'One place is a layer at a position (the default), a head at a position, a head, or a layer; of modules a site (the default), or a site at a position.' -x -a 'layer,position head,position layer,head layer site site,position'
complete -c mi -n '__fish_seen_subcommand_from patch' -l noising -d 'Put corrupted activations into the clean run (the default).'
complete -c mi -n '__fish_seen_subcommand_from patch' -l denoising -d 'Put clean activations into the corrupted run.'
complete -c mi -n '__fish_seen_subcommand_from patch' -l template -d 'Use the examples of one template only.' -x
complete -c mi -n '__fish_seen_subcommand_from patch' -l length -d 'Use the examples of N tokens only.' -x
complete -c mi -n '__fish_seen_subcommand_from patch' -l metric -d 'What is measured at the answer; the default is the task\'s own.' -x -a 'logit-diff prob-diff logit class-prob class-logprob normalised-logit kl js accuracy top-1 top-5 top-10'
complete -c mi -n '__fish_seen_subcommand_from patch' -l split -d 'Examples to use: train, validation, test or all.' -x -a 'train validation test all'
complete -c mi -n '__fish_seen_subcommand_from patch' -l limit -d 'Use the first N examples of each split only.' -x
complete -c mi -n '__fish_seen_subcommand_from patch' -l model -s m -d 'A folder, a hub identifier, or the name of an embedded model.' -r -a 'default planted' -F
complete -c mi -n '__fish_seen_subcommand_from patch' -l revision -d 'Commit, tag or branch of a hub model.' -x
complete -c mi -n '__fish_seen_subcommand_from patch' -l bos -d 'Put the tokenizer\'s beginning-of-sequence token before text, or never.' -x -a 'auto never'
complete -c mi -n '__fish_seen_subcommand_from patch' -l device -d 'auto, cpu, cuda, cuda:N or mps.' -x -a 'auto cpu cuda mps'
complete -c mi -n '__fish_seen_subcommand_from patch' -l dtype -d 'Number format of weights and activations.' -x -a 'auto float32 bfloat16 float16 float64'
complete -c mi -n '__fish_seen_subcommand_from patch' -l tf32 -d 'Allow TF32 in matrix products on a GPU.'
complete -c mi -n '__fish_seen_subcommand_from patch' -l tensor-parallel -d 'Cut the model up among the processes that torchrun started: all hold it together.'
complete -c mi -n '__fish_seen_subcommand_from patch' -l batch-size -d 'Examples run at once.' -x
complete -c mi -n '__fish_seen_subcommand_from patch' -l memory-budget -d 'Memory over the weights to work in: batches and what is made wide at once are cut to it.' -x
complete -c mi -n '__fish_seen_subcommand_from patch' -l executor -d 'How the model is run: plain hooks, or nnsight\'s traces.' -x -a 'auto fast generic'
complete -c mi -n '__fish_seen_subcommand_from patch' -l remote -d 'Run the model on NDIF, and only its sites; \'local\' rehearses that here.' -x
complete -c mi -n '__fish_seen_subcommand_from patch' -l device-map -d 'Spread the model over devices and a disk: auto, balanced, balanced_low_0, sequential, or a JSON file.' -x
complete -c mi -n '__fish_seen_subcommand_from patch' -l trust-remote-code -d 'Run code that comes with the model; needs a pinned --revision.'
complete -c mi -n '__fish_seen_subcommand_from patch' -l allow-pickle -d 'Accept weights that are not safetensors, tensors only.'
complete -c mi -n '__fish_seen_subcommand_from patch' -l adapter -d 'Roles of an architecture that mi does not know (\'mi adapter probe\' writes them).' -r -F
complete -c mi -n '__fish_seen_subcommand_from patch' -l output -s o -d 'Write to FILE, whole or not at all; tensors lie beside it.' -r -F
complete -c mi -n '__fish_seen_subcommand_from patch' -l json -d 'Write the stream itself on a terminal too, not a table.'
complete -c mi -n '__fish_seen_subcommand_from patch' -l quiet -s q -d 'No notes and no progress on stderr.'
complete -c mi -n '__fish_seen_subcommand_from patch' -l dry-run -d 'Say what would be done, and do nothing.'
complete -c mi -n '__fish_seen_subcommand_from patch' -l fresh -d 'Do the work even if its result is in the store.'
complete -c mi -n '__fish_seen_subcommand_from patch' -l help -s h -d 'Show this message and exit.'

complete -c mi -n '__fish_seen_subcommand_from search' -F
complete -c mi -n '__fish_seen_subcommand_from search' -l method -d 'Try every edge once; learn a mask in one of three ways; or learn constants.' -x -a 'acdc subnetwork-probing edge-pruning ugs optimal'
complete -c mi -n '__fish_seen_subcommand_from search' -l ranking -d 'Write scores of all edges, not a circuit; of acdc, over several taus.'
complete -c mi -n '__fish_seen_subcommand_from search' -l tau -d 'Of acdc: keep an edge if the loss rises by T or more without it (0.001). Repeated: a ranking.' -x
complete -c mi -n '__fish_seen_subcommand_from search' -l order -d 'Of acdc: the order of the edges into one receiver (reverse).' -x -a 'reverse normal random'
complete -c mi -n '__fish_seen_subcommand_from search' -l abs -d 'Of acdc: compare the change of the loss without its sign.'
complete -c mi -n '__fish_seen_subcommand_from search' -l remove-redundant -d 'Of acdc: drop what lies on no path from the input to the logits.'
complete -c mi -n '__fish_seen_subcommand_from search' -l level -d 'Of subnetwork-probing: what a mask is on (node).' -x -a 'node edge'
complete -c mi -n '__fish_seen_subcommand_from search' -l penalty -d 'Of subnetwork-probing: the price of all masks (1). Of ugs: of one edge (0.001). Larger is sparser.' -x
complete -c mi -n '__fish_seen_subcommand_from search' -l target -d 'Of edge-pruning: the share of edges to remove (0.9).' -x
complete -c mi -n '__fish_seen_subcommand_from search' -l node-target -d 'Of edge-pruning: the share of heads and MLPs to remove; each then has a mask of its own.' -x
complete -c mi -n '__fish_seen_subcommand_from search' -l masks -d 'Of ugs: masks drawn for each example (12).' -x
complete -c mi -n '__fish_seen_subcommand_from search' -l steps -d 'Steps of gradient descent, at most (300; edge-pruning 600; optimal 200).' -x
complete -c mi -n '__fish_seen_subcommand_from search' -l lr -d 'Its rate (subnetwork-probing 0.1, edge-pruning 0.2, ugs 0.05, optimal 0.01).' -x
complete -c mi -n '__fish_seen_subcommand_from search' -l patience -d 'Stop when the circuit has not changed for N steps (100); 0 never stops early.' -x
complete -c mi -n '__fish_seen_subcommand_from search' -l learn-constants -d 'Learn with the mask what removed edges carry, beginning at the mean.'
complete -c mi -n '__fish_seen_subcommand_from search' -l checkpoint -d 'Keep the state in FILE; if it is there, go on from it.' -r -F
complete -c mi -n '__fish_seen_subcommand_from search' -l every -d 'Steps, or edges tried, between two checkpoints.' -x
complete -c mi -n '__fish_seen_subcommand_from search' -l kv -d 'Where heads share keys and values: receivers of each query head (query), or one for all that share.' -x -a 'query grouped'
complete -c mi -n '__fish_seen_subcommand_from search' -l ablation -d 'What takes the place of a removed edge.' -x -a 'counterfactual resample zero mean mean-positional optimal'
complete -c mi -n '__fish_seen_subcommand_from search' -l means -d 'Replace by the constants in FILE (from \'mi cache --means\', or learned).' -r -F
complete -c mi -n '__fish_seen_subcommand_from search' -l seed -d 'Seed of everything random.' -x
complete -c mi -n '__fish_seen_subcommand_from search' -l metric -d 'What is measured; the loss is minus that. kl and js compare with the whole model.' -x -a 'kl js logit-diff prob-diff normalised-logit accuracy top-1 top-5 top-10'
complete -c mi -n '__fish_seen_subcommand_from search' -l split -d 'Examples to use: train, validation, test or all.' -x -a 'train validation test all'
complete -c mi -n '__fish_seen_subcommand_from search' -l limit -d 'Use the first N examples of each split only.' -x
complete -c mi -n '__fish_seen_subcommand_from search' -l model -s m -d 'A folder, a hub identifier, or the name of an embedded model.' -r -a 'default planted' -F
complete -c mi -n '__fish_seen_subcommand_from search' -l revision -d 'Commit, tag or branch of a hub model.' -x
complete -c mi -n '__fish_seen_subcommand_from search' -l bos -d 'Put the tokenizer\'s beginning-of-sequence token before text, or never.' -x -a 'auto never'
complete -c mi -n '__fish_seen_subcommand_from search' -l device -d 'auto, cpu, cuda, cuda:N or mps.' -x -a 'auto cpu cuda mps'
complete -c mi -n '__fish_seen_subcommand_from search' -l dtype -d 'Number format of weights and activations.' -x -a 'auto float32 bfloat16 float16 float64'
complete -c mi -n '__fish_seen_subcommand_from search' -l tf32 -d 'Allow TF32 in matrix products on a GPU.'
complete -c mi -n '__fish_seen_subcommand_from search' -l tensor-parallel -d 'Cut the model up among the processes that torchrun started: all hold it together.'
complete -c mi -n '__fish_seen_subcommand_from search' -l batch-size -d 'Examples run at once.' -x
complete -c mi -n '__fish_seen_subcommand_from search' -l memory-budget -d 'Memory over the weights to work in: batches and what is made wide at once are cut to it.' -x
complete -c mi -n '__fish_seen_subcommand_from search' -l executor -d 'How the model is run: plain hooks, or nnsight\'s traces.' -x -a 'auto fast generic'
complete -c mi -n '__fish_seen_subcommand_from search' -l device-map -d 'Spread the model over devices and a disk: auto, balanced, balanced_low_0, sequential, or a JSON file.' -x
complete -c mi -n '__fish_seen_subcommand_from search' -l trust-remote-code -d 'Run code that comes with the model; needs a pinned --revision.'
complete -c mi -n '__fish_seen_subcommand_from search' -l allow-pickle -d 'Accept weights that are not safetensors, tensors only.'
complete -c mi -n '__fish_seen_subcommand_from search' -l adapter -d 'Roles of an architecture that mi does not know (\'mi adapter probe\' writes them).' -r -F
complete -c mi -n '__fish_seen_subcommand_from search' -l output -s o -d 'Write to FILE, whole or not at all; tensors lie beside it.' -r -F
complete -c mi -n '__fish_seen_subcommand_from search' -l json -d 'Write the stream itself on a terminal too, not a table.'
complete -c mi -n '__fish_seen_subcommand_from search' -l quiet -s q -d 'No notes and no progress on stderr.'
complete -c mi -n '__fish_seen_subcommand_from search' -l dry-run -d 'Say what would be done, and do nothing.'
complete -c mi -n '__fish_seen_subcommand_from search' -l fresh -d 'Do the work even if its result is in the store.'
complete -c mi -n '__fish_seen_subcommand_from search' -l help -s h -d 'Show this message and exit.'

complete -c mi -n '__fish_seen_subcommand_from merge' -F
complete -c mi -n '__fish_seen_subcommand_from merge' -l mean -d 'Take the mean of the scores.'
complete -c mi -n '__fish_seen_subcommand_from merge' -l min -d 'Take the smallest of the scores, signs included.'
complete -c mi -n '__fish_seen_subcommand_from merge' -l max -d 'Take the largest of the scores, signs included.'
complete -c mi -n '__fish_seen_subcommand_from merge' -l rank-mean -d 'Take the mean of the ranks by magnitude, each with the sign of its score.'
complete -c mi -n '__fish_seen_subcommand_from merge' -l sum -d 'Join all shards of one run of \'mi attribute --shard\'.'
complete -c mi -n '__fish_seen_subcommand_from merge' -l normalise -d 'First divide each file\'s scores by their mean magnitude.'
complete -c mi -n '__fish_seen_subcommand_from merge' -l output -s o -d 'Write to FILE, whole or not at all; tensors lie beside it.' -r -F
complete -c mi -n '__fish_seen_subcommand_from merge' -l json -d 'Write the stream itself on a terminal too, not a table.'
complete -c mi -n '__fish_seen_subcommand_from merge' -l quiet -s q -d 'No notes and no progress on stderr.'
complete -c mi -n '__fish_seen_subcommand_from merge' -l help -s h -d 'Show this message and exit.'

complete -c mi -n '__fish_seen_subcommand_from set; and not __fish_seen_subcommand_from union; and not __fish_seen_subcommand_from intersect; and not __fish_seen_subcommand_from subtract' -a union -d 'keep what is in any of several circuits'
complete -c mi -n '__fish_seen_subcommand_from set; and not __fish_seen_subcommand_from union; and not __fish_seen_subcommand_from intersect; and not __fish_seen_subcommand_from subtract' -a intersect -d 'keep what is in all of several circuits'
complete -c mi -n '__fish_seen_subcommand_from set; and not __fish_seen_subcommand_from union; and not __fish_seen_subcommand_from intersect; and not __fish_seen_subcommand_from subtract' -a subtract -d 'keep what is in the first circuit and in none of the others'
complete -c mi -n '__fish_seen_subcommand_from set; and not __fish_seen_subcommand_from union; and not __fish_seen_subcommand_from intersect; and not __fish_seen_subcommand_from subtract' -l quiet -s q -d 'No notes and no progress on stderr.'
complete -c mi -n '__fish_seen_subcommand_from set; and not __fish_seen_subcommand_from union; and not __fish_seen_subcommand_from intersect; and not __fish_seen_subcommand_from subtract' -l help -s h -d 'Show this message and exit.'
complete -c mi -n '__fish_seen_subcommand_from set; and __fish_seen_subcommand_from union' -F
complete -c mi -n '__fish_seen_subcommand_from set; and __fish_seen_subcommand_from union' -l output -s o -d 'Write to FILE, whole or not at all; tensors lie beside it.' -r -F
complete -c mi -n '__fish_seen_subcommand_from set; and __fish_seen_subcommand_from union' -l json -d 'Write the stream itself on a terminal too, not a table.'
complete -c mi -n '__fish_seen_subcommand_from set; and __fish_seen_subcommand_from union' -l quiet -s q -d 'No notes and no progress on stderr.'
complete -c mi -n '__fish_seen_subcommand_from set; and __fish_seen_subcommand_from union' -l help -s h -d 'Show this message and exit.'
complete -c mi -n '__fish_seen_subcommand_from set; and __fish_seen_subcommand_from intersect' -F
complete -c mi -n '__fish_seen_subcommand_from set; and __fish_seen_subcommand_from intersect' -l output -s o -d 'Write to FILE, whole or not at all; tensors lie beside it.' -r -F
complete -c mi -n '__fish_seen_subcommand_from set; and __fish_seen_subcommand_from intersect' -l json -d 'Write the stream itself on a terminal too, not a table.'
complete -c mi -n '__fish_seen_subcommand_from set; and __fish_seen_subcommand_from intersect' -l quiet -s q -d 'No notes and no progress on stderr.'
complete -c mi -n '__fish_seen_subcommand_from set; and __fish_seen_subcommand_from intersect' -l help -s h -d 'Show this message and exit.'
complete -c mi -n '__fish_seen_subcommand_from set; and __fish_seen_subcommand_from subtract' -F
complete -c mi -n '__fish_seen_subcommand_from set; and __fish_seen_subcommand_from subtract' -l output -s o -d 'Write to FILE, whole or not at all; tensors lie beside it.' -r -F
complete -c mi -n '__fish_seen_subcommand_from set; and __fish_seen_subcommand_from subtract' -l json -d 'Write the stream itself on a terminal too, not a table.'
complete -c mi -n '__fish_seen_subcommand_from set; and __fish_seen_subcommand_from subtract' -l quiet -s q -d 'No notes and no progress on stderr.'
complete -c mi -n '__fish_seen_subcommand_from set; and __fish_seen_subcommand_from subtract' -l help -s h -d 'Show this message and exit.'

complete -c mi -n '__fish_seen_subcommand_from eval; and not __fish_seen_subcommand_from ground-truth' -a ground-truth -d 'measure how well scores find a circuit that is known'
complete -c mi -n '__fish_seen_subcommand_from eval; and not __fish_seen_subcommand_from ground-truth' -l quiet -s q -d 'No notes and no progress on stderr.'
complete -c mi -n '__fish_seen_subcommand_from eval; and not __fish_seen_subcommand_from ground-truth' -l help -s h -d 'Show this message and exit.'
complete -c mi -n '__fish_seen_subcommand_from eval; and __fish_seen_subcommand_from ground-truth' -F
complete -c mi -n '__fish_seen_subcommand_from eval; and __fish_seen_subcommand_from ground-truth' -l truth -d 'Where the true edges stand, or \'planted\' (taken by itself where the scores are of that model).' -x
complete -c mi -n '__fish_seen_subcommand_from eval; and __fish_seen_subcommand_from ground-truth' -l key -d 'Which truth of a file that holds several; if not given, that of the scores\' counterfactual.' -x
complete -c mi -n '__fish_seen_subcommand_from eval; and __fish_seen_subcommand_from ground-truth' -l signed -d 'Rank by signed score, helpful first, not by magnitude.'
complete -c mi -n '__fish_seen_subcommand_from eval; and __fish_seen_subcommand_from ground-truth' -l resamples -d 'Resamples of the examples for the interval; 0 leaves it out.' -x
complete -c mi -n '__fish_seen_subcommand_from eval; and __fish_seen_subcommand_from ground-truth' -l seed -d 'Seed of everything random.' -x
complete -c mi -n '__fish_seen_subcommand_from eval; and __fish_seen_subcommand_from ground-truth' -l output -s o -d 'Write to FILE, whole or not at all; tensors lie beside it.' -r -F
complete -c mi -n '__fish_seen_subcommand_from eval; and __fish_seen_subcommand_from ground-truth' -l json -d 'Write the stream itself on a terminal too, not a table.'
complete -c mi -n '__fish_seen_subcommand_from eval; and __fish_seen_subcommand_from ground-truth' -l quiet -s q -d 'No notes and no progress on stderr.'
complete -c mi -n '__fish_seen_subcommand_from eval; and __fish_seen_subcommand_from ground-truth' -l help -s h -d 'Show this message and exit.'

complete -c mi -n '__fish_seen_subcommand_from check' -F
complete -c mi -n '__fish_seen_subcommand_from check' -l baseline -d 'The report to compare with.' -r -F
complete -c mi -n '__fish_seen_subcommand_from check' -l max-drop -d 'How much worse than the baseline NAME may be; if not given, faithfulness=0.02 (of a curve: cpr).' -x
complete -c mi -n '__fish_seen_subcommand_from check' -l min -d 'NAME must be at least N.' -x
complete -c mi -n '__fish_seen_subcommand_from check' -l max -d 'NAME may be at most N.' -x
complete -c mi -n '__fish_seen_subcommand_from check' -l confidence -d 'Of the intervals that decide.' -x
complete -c mi -n '__fish_seen_subcommand_from check' -l strict -d 'What cannot be told counts as failed.'
complete -c mi -n '__fish_seen_subcommand_from check' -l update -d 'Make the report the new baseline and say what changed; nothing is judged.'
complete -c mi -n '__fish_seen_subcommand_from check' -l format -d 'How findings are written.' -x -a 'text json junit github sarif'
complete -c mi -n '__fish_seen_subcommand_from check' -l json -d 'The same as --format json: a line of JSON each.'
complete -c mi -n '__fish_seen_subcommand_from check' -l output -s o -d 'Write to FILE, whole or not at all; tensors lie beside it.' -r -F
complete -c mi -n '__fish_seen_subcommand_from check' -l quiet -s q -d 'No notes and no progress on stderr.'
complete -c mi -n '__fish_seen_subcommand_from check' -l help -s h -d 'Show this message and exit.'

complete -c mi -n '__fish_seen_subcommand_from diff' -l atol -d 'Numbers that differ by at most X are the same.' -x
complete -c mi -n '__fish_seen_subcommand_from diff' -l rtol -d 'Or by at most this share of the number in A.' -x
complete -c mi -n '__fish_seen_subcommand_from diff' -l top -d 'List the N largest changes (a table: 20).' -x
complete -c mi -n '__fish_seen_subcommand_from diff' -l json -d 'Print one line of JSON for each finding.'
complete -c mi -n '__fish_seen_subcommand_from diff' -l output -s o -d 'Write to FILE, whole or not at all; tensors lie beside it.' -r -F
complete -c mi -n '__fish_seen_subcommand_from diff' -l quiet -s q -d 'No notes and no progress on stderr.'
complete -c mi -n '__fish_seen_subcommand_from diff' -l help -s h -d 'Show this message and exit.'

complete -c mi -n '__fish_seen_subcommand_from view' -F
complete -c mi -n '__fish_seen_subcommand_from view' -l head -s H -d 'Show the head only.'
complete -c mi -n '__fish_seen_subcommand_from view' -l top -d 'Show N rows; 0 is all. Edges: the largest scores.' -x
complete -c mi -n '__fish_seen_subcommand_from view' -l json -d 'Write head, records and end as JSON lines; scores become one record per edge.'
complete -c mi -n '__fish_seen_subcommand_from view' -l by -d 'Sum scores by head or MLP, by layer, or by what reads them.' -x -a 'head layer receiver'
complete -c mi -n '__fish_seen_subcommand_from view' -l svg -d 'Write a map of effects as an SVG picture.'
complete -c mi -n '__fish_seen_subcommand_from view' -l output -s o -d 'Write to FILE, whole or not at all; tensors lie beside it.' -r -F
complete -c mi -n '__fish_seen_subcommand_from view' -l quiet -s q -d 'No notes and no progress on stderr.'
complete -c mi -n '__fish_seen_subcommand_from view' -l help -s h -d 'Show this message and exit.'

complete -c mi -n '__fish_seen_subcommand_from graph' -F
complete -c mi -n '__fish_seen_subcommand_from graph' -l to -d 'Kind of picture; if not given, that of the output\'s name, else svg.' -x -a 'svg html dot png'
complete -c mi -n '__fish_seen_subcommand_from graph' -l top -d 'Draw the N edges with the largest scores; the default is 2000 of a circuit and 200 of scores.' -x
complete -c mi -n '__fish_seen_subcommand_from graph' -l by -d 'Draw every head, or the heads of a layer as one.' -x -a 'head layer'
complete -c mi -n '__fish_seen_subcommand_from graph' -l output -s o -d 'Write to FILE, whole or not at all; tensors lie beside it.' -r -F
complete -c mi -n '__fish_seen_subcommand_from graph' -l quiet -s q -d 'No notes and no progress on stderr.'
complete -c mi -n '__fish_seen_subcommand_from graph' -l help -s h -d 'Show this message and exit.'

complete -c mi -n '__fish_seen_subcommand_from plot' -F
complete -c mi -n '__fish_seen_subcommand_from plot' -l what -d 'What to plot; if not given, what the streams are best seen as.' -x -a 'curve measures examples histogram heads map roc'
complete -c mi -n '__fish_seen_subcommand_from plot' -l to -d 'Kind of picture; if not given, that of the output\'s name, else svg.' -x -a 'svg png text'
complete -c mi -n '__fish_seen_subcommand_from plot' -l x -d 'Axis of circuit sizes of a curve, log if not given; areas are true if linear.' -x -a 'log linear'
complete -c mi -n '__fish_seen_subcommand_from plot' -l measure -d 'A measure to show; may be given again.' -x
complete -c mi -n '__fish_seen_subcommand_from plot' -l title -d 'Write TEXT above the plot.' -x
complete -c mi -n '__fish_seen_subcommand_from plot' -l output -s o -d 'Write to FILE, whole or not at all; tensors lie beside it.' -r -F
complete -c mi -n '__fish_seen_subcommand_from plot' -l quiet -s q -d 'No notes and no progress on stderr.'
complete -c mi -n '__fish_seen_subcommand_from plot' -l help -s h -d 'Show this message and exit.'

complete -c mi -n '__fish_seen_subcommand_from report' -F
complete -c mi -n '__fish_seen_subcommand_from report' -l findings -d 'Show the verdicts that \'mi check --json\' wrote.' -r -F
complete -c mi -n '__fish_seen_subcommand_from report' -l title -d 'Write TEXT above it all.' -x
complete -c mi -n '__fish_seen_subcommand_from report' -l to -d 'A page, or tables; on a terminal tables, else a page.' -x -a 'html text'
complete -c mi -n '__fish_seen_subcommand_from report' -l output -s o -d 'Write to FILE, whole or not at all; tensors lie beside it.' -r -F
complete -c mi -n '__fish_seen_subcommand_from report' -l quiet -s q -d 'No notes and no progress on stderr.'
complete -c mi -n '__fish_seen_subcommand_from report' -l help -s h -d 'Show this message and exit.'

complete -c mi -n '__fish_seen_subcommand_from head' -F
complete -c mi -n '__fish_seen_subcommand_from head' -l number -s n -d 'How many records to keep; of examples, of each split.' -x
complete -c mi -n '__fish_seen_subcommand_from head' -l output -s o -d 'Write to FILE, whole or not at all; tensors lie beside it.' -r -F
complete -c mi -n '__fish_seen_subcommand_from head' -l json -d 'Write the stream itself on a terminal too, not a table.'
complete -c mi -n '__fish_seen_subcommand_from head' -l quiet -s q -d 'No notes and no progress on stderr.'
complete -c mi -n '__fish_seen_subcommand_from head' -l help -s h -d 'Show this message and exit.'

complete -c mi -n '__fish_seen_subcommand_from cat' -F
complete -c mi -n '__fish_seen_subcommand_from cat' -l output -s o -d 'Write to FILE, whole or not at all; tensors lie beside it.' -r -F
complete -c mi -n '__fish_seen_subcommand_from cat' -l json -d 'Write the stream itself on a terminal too, not a table.'
complete -c mi -n '__fish_seen_subcommand_from cat' -l quiet -s q -d 'No notes and no progress on stderr.'
complete -c mi -n '__fish_seen_subcommand_from cat' -l help -s h -d 'Show this message and exit.'

complete -c mi -n '__fish_seen_subcommand_from split' -F
complete -c mi -n '__fish_seen_subcommand_from split' -l by -d 'One part for each value of a field: template, split, length, variables.NAME, labels.NAME.' -x
complete -c mi -n '__fish_seen_subcommand_from split' -l fraction -d 'Two parts: a random share X of the examples (\'part\'), and the rest.' -x
complete -c mi -n '__fish_seen_subcommand_from split' -l seed -d 'Seed of everything random.' -x
complete -c mi -n '__fish_seen_subcommand_from split' -l only -d 'Write this one part, as a stream.' -x
complete -c mi -n '__fish_seen_subcommand_from split' -l output -s o -d 'The folder of the parts, VALUE.jsonl each; with --only a file.' -r -F
complete -c mi -n '__fish_seen_subcommand_from split' -l json -d 'Write the stream itself on a terminal too, not a table.'
complete -c mi -n '__fish_seen_subcommand_from split' -l quiet -s q -d 'No notes and no progress on stderr.'
complete -c mi -n '__fish_seen_subcommand_from split' -l help -s h -d 'Show this message and exit.'

complete -c mi -n '__fish_seen_subcommand_from log' -F
complete -c mi -n '__fish_seen_subcommand_from log' -l script -d 'Print a shell script that makes the stream again.'
complete -c mi -n '__fish_seen_subcommand_from log' -l json -d 'Print each link of the chain as one line of JSON.'
complete -c mi -n '__fish_seen_subcommand_from log' -l output -s o -d 'Write to FILE, whole or not at all; tensors lie beside it.' -r -F
complete -c mi -n '__fish_seen_subcommand_from log' -l quiet -s q -d 'No notes and no progress on stderr.'
complete -c mi -n '__fish_seen_subcommand_from log' -l help -s h -d 'Show this message and exit.'

complete -c mi -n '__fish_seen_subcommand_from verify' -F
complete -c mi -n '__fish_seen_subcommand_from verify' -l json -d 'Print one line of JSON for each file.'
complete -c mi -n '__fish_seen_subcommand_from verify' -l quiet -s q -d 'No notes and no progress on stderr.'
complete -c mi -n '__fish_seen_subcommand_from verify' -l help -s h -d 'Show this message and exit.'

complete -c mi -n '__fish_seen_subcommand_from stamp' -F
complete -c mi -n '__fish_seen_subcommand_from stamp' -l output -s o -d 'Write to FILE, whole or not at all; tensors lie beside it.' -r -F
complete -c mi -n '__fish_seen_subcommand_from stamp' -l quiet -s q -d 'No notes and no progress on stderr.'
complete -c mi -n '__fish_seen_subcommand_from stamp' -l help -s h -d 'Show this message and exit.'

complete -c mi -n '__fish_seen_subcommand_from pack' -F
complete -c mi -n '__fish_seen_subcommand_from pack' -l output -s o -d 'The copy; its tensors are put beside it.' -r -F
complete -c mi -n '__fish_seen_subcommand_from pack' -l quiet -s q -d 'No notes and no progress on stderr.'
complete -c mi -n '__fish_seen_subcommand_from pack' -l help -s h -d 'Show this message and exit.'

complete -c mi -n '__fish_seen_subcommand_from schema' -a 'examples cache scores circuit report effects means'
complete -c mi -n '__fish_seen_subcommand_from schema' -l output -s o -d 'Write to FILE, whole or not at all; tensors lie beside it.' -r -F
complete -c mi -n '__fish_seen_subcommand_from schema' -l quiet -s q -d 'No notes and no progress on stderr.'
complete -c mi -n '__fish_seen_subcommand_from schema' -l help -s h -d 'Show this message and exit.'

complete -c mi -n '__fish_seen_subcommand_from import; and not __fish_seen_subcommand_from mib; and not __fish_seen_subcommand_from acdc; and not __fish_seen_subcommand_from autocircuit; and not __fish_seen_subcommand_from edge-pruning; and not __fish_seen_subcommand_from feature-circuits' -a mib -d 'read a graph of eap-ig or the mib benchmark: json, or .pt'
complete -c mi -n '__fish_seen_subcommand_from import; and not __fish_seen_subcommand_from mib; and not __fish_seen_subcommand_from acdc; and not __fish_seen_subcommand_from autocircuit; and not __fish_seen_subcommand_from edge-pruning; and not __fish_seen_subcommand_from feature-circuits' -a acdc -d 'read a circuit of acdc: the .pth of its subgraph, or a list of edges with their effects (pickle or json)'
complete -c mi -n '__fish_seen_subcommand_from import; and not __fish_seen_subcommand_from mib; and not __fish_seen_subcommand_from acdc; and not __fish_seen_subcommand_from autocircuit; and not __fish_seen_subcommand_from edge-pruning; and not __fish_seen_subcommand_from feature-circuits' -a autocircuit -d 'read scores of autocircuit: a dictionary of tensors, one for each module, saved by torch'
complete -c mi -n '__fish_seen_subcommand_from import; and not __fish_seen_subcommand_from mib; and not __fish_seen_subcommand_from acdc; and not __fish_seen_subcommand_from autocircuit; and not __fish_seen_subcommand_from edge-pruning; and not __fish_seen_subcommand_from feature-circuits' -a edge-pruning -d 'read a circuit of edge-pruning: the list of pairs in its edges.json'
complete -c mi -n '__fish_seen_subcommand_from import; and not __fish_seen_subcommand_from mib; and not __fish_seen_subcommand_from acdc; and not __fish_seen_subcommand_from autocircuit; and not __fish_seen_subcommand_from edge-pruning; and not __fish_seen_subcommand_from feature-circuits' -a feature-circuits -d 'read a sparse feature circuit: features of dictionaries, their effects, and the weights of edges between them'
complete -c mi -n '__fish_seen_subcommand_from import; and not __fish_seen_subcommand_from mib; and not __fish_seen_subcommand_from acdc; and not __fish_seen_subcommand_from autocircuit; and not __fish_seen_subcommand_from edge-pruning; and not __fish_seen_subcommand_from feature-circuits' -l quiet -s q -d 'No notes and no progress on stderr.'
complete -c mi -n '__fish_seen_subcommand_from import; and not __fish_seen_subcommand_from mib; and not __fish_seen_subcommand_from acdc; and not __fish_seen_subcommand_from autocircuit; and not __fish_seen_subcommand_from edge-pruning; and not __fish_seen_subcommand_from feature-circuits' -l help -s h -d 'Show this message and exit.'
complete -c mi -n '__fish_seen_subcommand_from import; and __fish_seen_subcommand_from mib' -F
complete -c mi -n '__fish_seen_subcommand_from import; and __fish_seen_subcommand_from mib' -l circuit -d 'Write the circuit that the file marks, not the scores that it holds.'
complete -c mi -n '__fish_seen_subcommand_from import; and __fish_seen_subcommand_from mib' -l level -d 'Which scores count, where the file has several; else the finest.' -x -a 'edge node neuron'
complete -c mi -n '__fish_seen_subcommand_from import; and __fish_seen_subcommand_from mib' -l about -d 'The task that the file is about.' -x
complete -c mi -n '__fish_seen_subcommand_from import; and __fish_seen_subcommand_from mib' -l model -s m -d 'A folder, a hub identifier, or the name of an embedded model.' -r -a 'default planted' -F
complete -c mi -n '__fish_seen_subcommand_from import; and __fish_seen_subcommand_from mib' -l revision -d 'Commit, tag or branch of a hub model.' -x
complete -c mi -n '__fish_seen_subcommand_from import; and __fish_seen_subcommand_from mib' -l output -s o -d 'Write to FILE, whole or not at all; tensors lie beside it.' -r -F
complete -c mi -n '__fish_seen_subcommand_from import; and __fish_seen_subcommand_from mib' -l json -d 'Write the stream itself on a terminal too, not a table.'
complete -c mi -n '__fish_seen_subcommand_from import; and __fish_seen_subcommand_from mib' -l quiet -s q -d 'No notes and no progress on stderr.'
complete -c mi -n '__fish_seen_subcommand_from import; and __fish_seen_subcommand_from mib' -l help -s h -d 'Show this message and exit.'
complete -c mi -n '__fish_seen_subcommand_from import; and __fish_seen_subcommand_from acdc' -F
complete -c mi -n '__fish_seen_subcommand_from import; and __fish_seen_subcommand_from acdc' -l scores -d 'Write a stream of scores (effects, or 1 and 0), not the circuit.'
complete -c mi -n '__fish_seen_subcommand_from import; and __fish_seen_subcommand_from acdc' -l about -d 'The task that the file is about.' -x
complete -c mi -n '__fish_seen_subcommand_from import; and __fish_seen_subcommand_from acdc' -l model -s m -d 'A folder, a hub identifier, or the name of an embedded model.' -r -a 'default planted' -F
complete -c mi -n '__fish_seen_subcommand_from import; and __fish_seen_subcommand_from acdc' -l revision -d 'Commit, tag or branch of a hub model.' -x
complete -c mi -n '__fish_seen_subcommand_from import; and __fish_seen_subcommand_from acdc' -l layers -d 'Layers of the model, where -m does not say it.' -x
complete -c mi -n '__fish_seen_subcommand_from import; and __fish_seen_subcommand_from acdc' -l heads -d 'Query heads of a layer, likewise.' -x
complete -c mi -n '__fish_seen_subcommand_from import; and __fish_seen_subcommand_from acdc' -l output -s o -d 'Write to FILE, whole or not at all; tensors lie beside it.' -r -F
complete -c mi -n '__fish_seen_subcommand_from import; and __fish_seen_subcommand_from acdc' -l json -d 'Write the stream itself on a terminal too, not a table.'
complete -c mi -n '__fish_seen_subcommand_from import; and __fish_seen_subcommand_from acdc' -l quiet -s q -d 'No notes and no progress on stderr.'
complete -c mi -n '__fish_seen_subcommand_from import; and __fish_seen_subcommand_from acdc' -l help -s h -d 'Show this message and exit.'
complete -c mi -n '__fish_seen_subcommand_from import; and __fish_seen_subcommand_from autocircuit' -F
complete -c mi -n '__fish_seen_subcommand_from import; and __fish_seen_subcommand_from autocircuit' -l key -d 'Which scores, of a file that holds several.' -x
complete -c mi -n '__fish_seen_subcommand_from import; and __fish_seen_subcommand_from autocircuit' -l about -d 'The task that the file is about.' -x
complete -c mi -n '__fish_seen_subcommand_from import; and __fish_seen_subcommand_from autocircuit' -l model -s m -d 'A folder, a hub identifier, or the name of an embedded model.' -r -a 'default planted' -F
complete -c mi -n '__fish_seen_subcommand_from import; and __fish_seen_subcommand_from autocircuit' -l revision -d 'Commit, tag or branch of a hub model.' -x
complete -c mi -n '__fish_seen_subcommand_from import; and __fish_seen_subcommand_from autocircuit' -l parallel -d 'In a block of the model attention and MLP read side by side (Pythia, GPT-J).'
complete -c mi -n '__fish_seen_subcommand_from import; and __fish_seen_subcommand_from autocircuit' -l output -s o -d 'Write to FILE, whole or not at all; tensors lie beside it.' -r -F
complete -c mi -n '__fish_seen_subcommand_from import; and __fish_seen_subcommand_from autocircuit' -l json -d 'Write the stream itself on a terminal too, not a table.'
complete -c mi -n '__fish_seen_subcommand_from import; and __fish_seen_subcommand_from autocircuit' -l quiet -s q -d 'No notes and no progress on stderr.'
complete -c mi -n '__fish_seen_subcommand_from import; and __fish_seen_subcommand_from autocircuit' -l help -s h -d 'Show this message and exit.'
complete -c mi -n '__fish_seen_subcommand_from import; and __fish_seen_subcommand_from edge-pruning' -F
complete -c mi -n '__fish_seen_subcommand_from import; and __fish_seen_subcommand_from edge-pruning' -l about -d 'The task that the file is about.' -x
complete -c mi -n '__fish_seen_subcommand_from import; and __fish_seen_subcommand_from edge-pruning' -l model -s m -d 'A folder, a hub identifier, or the name of an embedded model.' -r -a 'default planted' -F
complete -c mi -n '__fish_seen_subcommand_from import; and __fish_seen_subcommand_from edge-pruning' -l revision -d 'Commit, tag or branch of a hub model.' -x
complete -c mi -n '__fish_seen_subcommand_from import; and __fish_seen_subcommand_from edge-pruning' -l layers -d 'Layers of the model, where -m does not say it.' -x
complete -c mi -n '__fish_seen_subcommand_from import; and __fish_seen_subcommand_from edge-pruning' -l heads -d 'Query heads of a layer, likewise.' -x
complete -c mi -n '__fish_seen_subcommand_from import; and __fish_seen_subcommand_from edge-pruning' -l output -s o -d 'Write to FILE, whole or not at all; tensors lie beside it.' -r -F
complete -c mi -n '__fish_seen_subcommand_from import; and __fish_seen_subcommand_from edge-pruning' -l json -d 'Write the stream itself on a terminal too, not a table.'
complete -c mi -n '__fish_seen_subcommand_from import; and __fish_seen_subcommand_from edge-pruning' -l quiet -s q -d 'No notes and no progress on stderr.'
complete -c mi -n '__fish_seen_subcommand_from import; and __fish_seen_subcommand_from edge-pruning' -l help -s h -d 'Show this message and exit.'
complete -c mi -n '__fish_seen_subcommand_from import; and __fish_seen_subcommand_from feature-circuits' -F
complete -c mi -n '__fish_seen_subcommand_from import; and __fish_seen_subcommand_from feature-circuits' -l circuit -d 'Write the circuit that the file marks, not the scores that it holds.'
complete -c mi -n '__fish_seen_subcommand_from import; and __fish_seen_subcommand_from feature-circuits' -l level -d 'Which scores count: weights of edges, or effects of features.' -x -a 'edge node'
complete -c mi -n '__fish_seen_subcommand_from import; and __fish_seen_subcommand_from feature-circuits' -l about -d 'The task that the file is about.' -x
complete -c mi -n '__fish_seen_subcommand_from import; and __fish_seen_subcommand_from feature-circuits' -l output -s o -d 'Write to FILE, whole or not at all; tensors lie beside it.' -r -F
complete -c mi -n '__fish_seen_subcommand_from import; and __fish_seen_subcommand_from feature-circuits' -l json -d 'Write the stream itself on a terminal too, not a table.'
complete -c mi -n '__fish_seen_subcommand_from import; and __fish_seen_subcommand_from feature-circuits' -l quiet -s q -d 'No notes and no progress on stderr.'
complete -c mi -n '__fish_seen_subcommand_from import; and __fish_seen_subcommand_from feature-circuits' -l help -s h -d 'Show this message and exit.'

complete -c mi -n '__fish_seen_subcommand_from export; and not __fish_seen_subcommand_from mib' -a mib -d 'write a graph of the mib benchmark: json, or .pt'
complete -c mi -n '__fish_seen_subcommand_from export; and not __fish_seen_subcommand_from mib' -l quiet -s q -d 'No notes and no progress on stderr.'
complete -c mi -n '__fish_seen_subcommand_from export; and not __fish_seen_subcommand_from mib' -l help -s h -d 'Show this message and exit.'
complete -c mi -n '__fish_seen_subcommand_from export; and __fish_seen_subcommand_from mib' -F
complete -c mi -n '__fish_seen_subcommand_from export; and __fish_seen_subcommand_from mib' -l scores -d 'Of a circuit: the scores that it was chosen by.' -r -F
complete -c mi -n '__fish_seen_subcommand_from export; and __fish_seen_subcommand_from mib' -l format -d 'What to write; if not given, what -o ends in, else json.' -x -a 'json pt'
complete -c mi -n '__fish_seen_subcommand_from export; and __fish_seen_subcommand_from mib' -l submission -d 'Write into the leaderboard\'s folder layout.' -x
complete -c mi -n '__fish_seen_subcommand_from export; and __fish_seen_subcommand_from mib' -l cell -d 'Of a submission: its cell, as ioi_gpt2.' -x
complete -c mi -n '__fish_seen_subcommand_from export; and __fish_seen_subcommand_from mib' -l nine -d 'Submit nine circuits of the benchmark\'s sizes, for CPR and for CMD, not scores.'
complete -c mi -n '__fish_seen_subcommand_from export; and __fish_seen_subcommand_from mib' -l output -s o -d 'Write to FILE.' -r -F
complete -c mi -n '__fish_seen_subcommand_from export; and __fish_seen_subcommand_from mib' -l quiet -s q -d 'No notes and no progress on stderr.'
complete -c mi -n '__fish_seen_subcommand_from export; and __fish_seen_subcommand_from mib' -l help -s h -d 'Show this message and exit.'

complete -c mi -n '__fish_seen_subcommand_from push' -l name -d 'Its path there; if not given, the file\'s name.' -x
complete -c mi -n '__fish_seen_subcommand_from push' -l kind -d 'What the repository is for the hub: dataset or model.' -x -a 'dataset model'
complete -c mi -n '__fish_seen_subcommand_from push' -l message -d 'What the commit says.' -x
complete -c mi -n '__fish_seen_subcommand_from push' -l private -d 'Make the repository private, if it has to be made.'
complete -c mi -n '__fish_seen_subcommand_from push' -l quiet -s q -d 'No notes and no progress on stderr.'
complete -c mi -n '__fish_seen_subcommand_from push' -l help -s h -d 'Show this message and exit.'

complete -c mi -n '__fish_seen_subcommand_from pull' -l revision -d 'Commit, tag or branch of a hub model.' -x
complete -c mi -n '__fish_seen_subcommand_from pull' -l sha256 -d 'The digest that the stream\'s file must have.' -x
complete -c mi -n '__fish_seen_subcommand_from pull' -l kind -d 'What the repository is for the hub: dataset or model.' -x -a 'dataset model'
complete -c mi -n '__fish_seen_subcommand_from pull' -l output -s o -d 'Write to FILE, whole or not at all; tensors lie beside it.' -r -F
complete -c mi -n '__fish_seen_subcommand_from pull' -l json -d 'Write the stream itself on a terminal too, not a table.'
complete -c mi -n '__fish_seen_subcommand_from pull' -l quiet -s q -d 'No notes and no progress on stderr.'
complete -c mi -n '__fish_seen_subcommand_from pull' -l help -s h -d 'Show this message and exit.'

complete -c mi -n '__fish_seen_subcommand_from mib; and not __fish_seen_subcommand_from run; and not __fish_seen_subcommand_from results' -a run -d 'run a cell of the mib benchmark: scores on the training split, circuits on the validation split'
complete -c mi -n '__fish_seen_subcommand_from mib; and not __fish_seen_subcommand_from run; and not __fish_seen_subcommand_from results' -a results -d 'collect reports of `mi score` into the leaderboard\'s file of results'
complete -c mi -n '__fish_seen_subcommand_from mib; and not __fish_seen_subcommand_from run; and not __fish_seen_subcommand_from results' -l quiet -s q -d 'No notes and no progress on stderr.'
complete -c mi -n '__fish_seen_subcommand_from mib; and not __fish_seen_subcommand_from run; and not __fish_seen_subcommand_from results' -l help -s h -d 'Show this message and exit.'
complete -c mi -n '__fish_seen_subcommand_from mib; and __fish_seen_subcommand_from run' -l model -s m -d 'A folder, a hub identifier, or the name of an embedded model.' -r -a 'default planted' -F
complete -c mi -n '__fish_seen_subcommand_from mib; and __fish_seen_subcommand_from run' -l task -d 'A task of the benchmark, as ioi.' -x -a 'ioi greater-than pronoun induction docstring capital sva arithmetic mcqa gender-bias'
complete -c mi -n '__fish_seen_subcommand_from mib; and __fish_seen_subcommand_from run' -l data -d 'Where the data sets lie; if not given, on the hub.' -x
complete -c mi -n '__fish_seen_subcommand_from mib; and __fish_seen_subcommand_from run' -l method -d 'How to score; \'mi info\' lists them.' -x
complete -c mi -n '__fish_seen_subcommand_from mib; and __fish_seen_subcommand_from run' -l level -d 'What to score: edge, node or neuron.' -x
complete -c mi -n '__fish_seen_subcommand_from mib; and __fish_seen_subcommand_from run' -l number -s n -d 'Training examples to score on; the default is the benchmark\'s own number.' -x
complete -c mi -n '__fish_seen_subcommand_from mib; and __fish_seen_subcommand_from run' -l validation -d 'Validation examples; if not given, all.' -x
complete -c mi -n '__fish_seen_subcommand_from mib; and __fish_seen_subcommand_from run' -l compat -d 'Give the scores of the MIB code, mistakes included.' -x -a 'mib'
complete -c mi -n '__fish_seen_subcommand_from mib; and __fish_seen_subcommand_from run' -l revision -d 'Commit, tag or branch of a hub model.' -x
complete -c mi -n '__fish_seen_subcommand_from mib; and __fish_seen_subcommand_from run' -l device -d 'auto, cpu, cuda, cuda:N or mps.' -x -a 'auto cpu cuda mps'
complete -c mi -n '__fish_seen_subcommand_from mib; and __fish_seen_subcommand_from run' -l dtype -d 'Number format of weights and activations.' -x -a 'auto float32 bfloat16 float16 float64'
complete -c mi -n '__fish_seen_subcommand_from mib; and __fish_seen_subcommand_from run' -l batch-size -d 'Examples run at once.' -x
complete -c mi -n '__fish_seen_subcommand_from mib; and __fish_seen_subcommand_from run' -l memory-budget -d 'Memory over the weights to work in: batches and what is made wide at once are cut to it.' -x
complete -c mi -n '__fish_seen_subcommand_from mib; and __fish_seen_subcommand_from run' -l matrix -d 'Write the Makefile of all cells, or those of --model and --task.'
complete -c mi -n '__fish_seen_subcommand_from mib; and __fish_seen_subcommand_from run' -l output -s o -d 'Write to FOLDER/CELL/ (mib).' -x
complete -c mi -n '__fish_seen_subcommand_from mib; and __fish_seen_subcommand_from run' -l quiet -s q -d 'No notes and no progress on stderr.'
complete -c mi -n '__fish_seen_subcommand_from mib; and __fish_seen_subcommand_from run' -l help -s h -d 'Show this message and exit.'
complete -c mi -n '__fish_seen_subcommand_from mib; and __fish_seen_subcommand_from results' -F
complete -c mi -n '__fish_seen_subcommand_from mib; and __fish_seen_subcommand_from results' -l method-name -d 'What the method is called.' -x
complete -c mi -n '__fish_seen_subcommand_from mib; and __fish_seen_subcommand_from results' -l description -d 'A sentence about the method.' -x
complete -c mi -n '__fish_seen_subcommand_from mib; and __fish_seen_subcommand_from results' -l cell -d 'The cell of a report that does not say it, in order.' -x
complete -c mi -n '__fish_seen_subcommand_from mib; and __fish_seen_subcommand_from results' -l output -s o -d 'Write to FILE.' -r -F
complete -c mi -n '__fish_seen_subcommand_from mib; and __fish_seen_subcommand_from results' -l quiet -s q -d 'No notes and no progress on stderr.'
complete -c mi -n '__fish_seen_subcommand_from mib; and __fish_seen_subcommand_from results' -l help -s h -d 'Show this message and exit.'

complete -c mi -n '__fish_seen_subcommand_from info' -l model -s m -d 'A folder, a hub identifier, or the name of an embedded model.' -r -a 'default planted' -F
complete -c mi -n '__fish_seen_subcommand_from info' -l revision -d 'Commit, tag or branch of a hub model.' -x
complete -c mi -n '__fish_seen_subcommand_from info' -l device -d 'auto, cpu, cuda, cuda:N or mps.' -x -a 'auto cpu cuda mps'
complete -c mi -n '__fish_seen_subcommand_from info' -l dtype -d 'Number format of weights and activations.' -x -a 'auto float32 bfloat16 float16 float64'
complete -c mi -n '__fish_seen_subcommand_from info' -l trust-remote-code -d 'Run code that comes with the model; needs a pinned --revision.'
complete -c mi -n '__fish_seen_subcommand_from info' -l allow-pickle -d 'Accept weights that are not safetensors, tensors only.'
complete -c mi -n '__fish_seen_subcommand_from info' -l adapter -d 'Roles of an architecture that mi does not know (\'mi adapter probe\' writes them).' -r -F
complete -c mi -n '__fish_seen_subcommand_from info' -l data -d 'Shapes of sites for an input such as in FILE.' -r -F
complete -c mi -n '__fish_seen_subcommand_from info' -l json -d 'Print one JSON object.'
complete -c mi -n '__fish_seen_subcommand_from info' -l quiet -s q -d 'No notes and no progress on stderr.'
complete -c mi -n '__fish_seen_subcommand_from info' -l help -s h -d 'Show this message and exit.'

complete -c mi -n '__fish_seen_subcommand_from adapter; and not __fish_seen_subcommand_from probe; and not __fish_seen_subcommand_from show' -a probe -d 'find out how an unknown architecture is laid out, and check it'
complete -c mi -n '__fish_seen_subcommand_from adapter; and not __fish_seen_subcommand_from probe; and not __fish_seen_subcommand_from show' -a show -d 'print the record of an architecture, or that of a file if it is one'
complete -c mi -n '__fish_seen_subcommand_from adapter; and not __fish_seen_subcommand_from probe; and not __fish_seen_subcommand_from show' -l json -d 'Print one JSON object.'
complete -c mi -n '__fish_seen_subcommand_from adapter; and not __fish_seen_subcommand_from probe; and not __fish_seen_subcommand_from show' -l help -s h -d 'Show this message and exit.'
complete -c mi -n '__fish_seen_subcommand_from adapter; and __fish_seen_subcommand_from probe' -l model -s m -d 'A folder, a hub identifier, or the name of an embedded model.' -r -a 'default planted' -F
complete -c mi -n '__fish_seen_subcommand_from adapter; and __fish_seen_subcommand_from probe' -l revision -d 'Commit, tag or branch of a hub model.' -x
complete -c mi -n '__fish_seen_subcommand_from adapter; and __fish_seen_subcommand_from probe' -l device -d 'auto, cpu, cuda, cuda:N or mps.' -x -a 'auto cpu cuda mps'
complete -c mi -n '__fish_seen_subcommand_from adapter; and __fish_seen_subcommand_from probe' -l dtype -d 'Number format of weights and activations.' -x -a 'auto float32 bfloat16 float16 float64'
complete -c mi -n '__fish_seen_subcommand_from adapter; and __fish_seen_subcommand_from probe' -l trust-remote-code -d 'Run code that comes with the model; needs a pinned --revision.'
complete -c mi -n '__fish_seen_subcommand_from adapter; and __fish_seen_subcommand_from probe' -l allow-pickle -d 'Accept weights that are not safetensors, tensors only.'
complete -c mi -n '__fish_seen_subcommand_from adapter; and __fish_seen_subcommand_from probe' -l output -s o -d 'Write to FILE, whole or not at all; tensors lie beside it.' -r -F
complete -c mi -n '__fish_seen_subcommand_from adapter; and __fish_seen_subcommand_from probe' -l json -d 'Print one JSON object.'
complete -c mi -n '__fish_seen_subcommand_from adapter; and __fish_seen_subcommand_from probe' -l quiet -s q -d 'No notes and no progress on stderr.'
complete -c mi -n '__fish_seen_subcommand_from adapter; and __fish_seen_subcommand_from probe' -l help -s h -d 'Show this message and exit.'
complete -c mi -n '__fish_seen_subcommand_from adapter; and __fish_seen_subcommand_from show' -l json -d 'Print one JSON object.'
complete -c mi -n '__fish_seen_subcommand_from adapter; and __fish_seen_subcommand_from show' -l help -s h -d 'Show this message and exit.'

complete -c mi -n '__fish_seen_subcommand_from gc' -l older-than -d 'Remove what was not used for AGE: 12h, 30d, 8w.' -x
complete -c mi -n '__fish_seen_subcommand_from gc' -l max-size -d 'Remove the oldest until SIZE is left: 500M, 10G.' -x
complete -c mi -n '__fish_seen_subcommand_from gc' -l dry-run -d 'Say what would be done, and do nothing.'
complete -c mi -n '__fish_seen_subcommand_from gc' -l json -d 'Print one line of JSON for each file.'
complete -c mi -n '__fish_seen_subcommand_from gc' -l quiet -s q -d 'No notes and no progress on stderr.'
complete -c mi -n '__fish_seen_subcommand_from gc' -l help -s h -d 'Show this message and exit.'
