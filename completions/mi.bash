# Completion of mi for bash. Written by completions/generate.py: change that, not this.
# Use it with: source completions/mi.bash

_mi() {
    local current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD - 1]} command=${COMP_WORDS[1]}
    COMPREPLY=()
    if ((COMP_CWORD == 1)); then
        _mi_words 'data cache attribute prune score pipe patch search merge set eval check diff view graph plot report head cat split log verify stamp pack schema import export push pull mib info adapter gc help --help --version'
        return
    fi
    if [[ $command == data && ${COMP_WORDS[2]} == filter ]] && ((COMP_CWORD > 2)); then
        command='data filter'
    fi
    if [[ $command == data && ${COMP_WORDS[2]} == circuit ]] && ((COMP_CWORD > 2)); then
        command='data circuit'
    fi
    if [[ $command == set && ${COMP_WORDS[2]} == union ]] && ((COMP_CWORD > 2)); then
        command='set union'
    fi
    if [[ $command == set && ${COMP_WORDS[2]} == intersect ]] && ((COMP_CWORD > 2)); then
        command='set intersect'
    fi
    if [[ $command == set && ${COMP_WORDS[2]} == subtract ]] && ((COMP_CWORD > 2)); then
        command='set subtract'
    fi
    if [[ $command == eval && ${COMP_WORDS[2]} == ground-truth ]] && ((COMP_CWORD > 2)); then
        command='eval ground-truth'
    fi
    if [[ $command == import && ${COMP_WORDS[2]} == mib ]] && ((COMP_CWORD > 2)); then
        command='import mib'
    fi
    if [[ $command == import && ${COMP_WORDS[2]} == acdc ]] && ((COMP_CWORD > 2)); then
        command='import acdc'
    fi
    if [[ $command == import && ${COMP_WORDS[2]} == autocircuit ]] && ((COMP_CWORD > 2)); then
        command='import autocircuit'
    fi
    if [[ $command == import && ${COMP_WORDS[2]} == edge-pruning ]] && ((COMP_CWORD > 2)); then
        command='import edge-pruning'
    fi
    if [[ $command == import && ${COMP_WORDS[2]} == feature-circuits ]] && ((COMP_CWORD > 2)); then
        command='import feature-circuits'
    fi
    if [[ $command == export && ${COMP_WORDS[2]} == mib ]] && ((COMP_CWORD > 2)); then
        command='export mib'
    fi
    if [[ $command == mib && ${COMP_WORDS[2]} == run ]] && ((COMP_CWORD > 2)); then
        command='mib run'
    fi
    if [[ $command == mib && ${COMP_WORDS[2]} == results ]] && ((COMP_CWORD > 2)); then
        command='mib results'
    fi
    if [[ $command == adapter && ${COMP_WORDS[2]} == probe ]] && ((COMP_CWORD > 2)); then
        command='adapter probe'
    fi
    if [[ $command == adapter && ${COMP_WORDS[2]} == show ]] && ((COMP_CWORD > 2)); then
        command='adapter show'
    fi
    case "$command $previous" in
        'data --from')
            :
            return
            ;;
        'data --number' | 'data -n')
            compopt +o default +o bashdefault 2>/dev/null
            return
            ;;
        'data --seed')
            compopt +o default +o bashdefault 2>/dev/null
            return
            ;;
        'data --counterfactual')
            _mi_words 's2-io-flip abc random-names s1-io-flip s1-ioi-flip-s2-ioi-flip random-names-s1-io-flip random-names-s2-io-flip random-names-s1-ioi-flip-s2-ioi-flip year-01 other-gender other-name context-swap answer-swap query-swap random-random random-def random-doc random-answer random-answer-doc other-capital number-flip attractor-flip both-flip random ones-op1 ones-op2 tens-op1 tens-op2 ones-carry tens-carry symbol answer-position random-letter answer-position-random-letter color noun-color noun gendered-noun other-stereotype'
            return
            ;;
        'data --split')
            _mi_words 'train validation test all'
            return
            ;;
        'data --model' | 'data -m')
            _mi_words 'default planted'; COMPREPLY+=($(compgen -d -- "$current"))
            return
            ;;
        'data --revision')
            compopt +o default +o bashdefault 2>/dev/null
            return
            ;;
        'data --output' | 'data -o')
            :
            return
            ;;
        'data filter --model' | 'data filter -m')
            _mi_words 'default planted'; COMPREPLY+=($(compgen -d -- "$current"))
            return
            ;;
        'data filter --revision')
            compopt +o default +o bashdefault 2>/dev/null
            return
            ;;
        'data filter --bos')
            _mi_words 'auto never'
            return
            ;;
        'data filter --device')
            _mi_words 'auto cpu cuda mps'
            return
            ;;
        'data filter --dtype')
            _mi_words 'auto float32 bfloat16 float16 float64'
            return
            ;;
        'data filter --batch-size')
            compopt +o default +o bashdefault 2>/dev/null
            return
            ;;
        'data filter --memory-budget')
            compopt +o default +o bashdefault 2>/dev/null
            return
            ;;
        'data filter --executor')
            _mi_words 'auto fast generic'
            return
            ;;
        'data filter --device-map')
            compopt +o default +o bashdefault 2>/dev/null
            return
            ;;
        'data filter --adapter')
            :
            return
            ;;
        'data filter --output' | 'data filter -o')
            :
            return
            ;;
        'data circuit --output' | 'data circuit -o')
            :
            return
            ;;
        'cache --model' | 'cache -m')
            _mi_words 'default planted'; COMPREPLY+=($(compgen -d -- "$current"))
            return
            ;;
        'cache --revision')
            compopt +o default +o bashdefault 2>/dev/null
            return
            ;;
        'cache --task')
            _mi_words 'ioi greater-than pronoun induction docstring capital sva arithmetic mcqa gender-bias'
            return
            ;;
        'cache --data')
            :
            return
            ;;
        'cache --number' | 'cache -n')
            compopt +o default +o bashdefault 2>/dev/null
            return
            ;;
        'cache --seed')
            compopt +o default +o bashdefault 2>/dev/null
            return
            ;;
        'cache --counterfactual')
            _mi_words 's2-io-flip abc random-names s1-io-flip s1-ioi-flip-s2-ioi-flip random-names-s1-io-flip random-names-s2-io-flip random-names-s1-ioi-flip-s2-ioi-flip year-01 other-gender other-name context-swap answer-swap query-swap random-random random-def random-doc random-answer random-answer-doc other-capital number-flip attractor-flip both-flip random ones-op1 ones-op2 tens-op1 tens-op2 ones-carry tens-carry symbol answer-position random-letter answer-position-random-letter color noun-color noun gendered-noun other-stereotype'
            return
            ;;
        'cache --limit')
            compopt +o default +o bashdefault 2>/dev/null
            return
            ;;
        'cache --bos')
            _mi_words 'auto never'
            return
            ;;
        'cache --answers')
            _mi_words 'single first-token'
            return
            ;;
        'cache --metric')
            _mi_words 'logit-diff prob-diff logit class-prob class-logprob normalised-logit kl js accuracy top-1 top-5 top-10'
            return
            ;;
        'cache --site')
            compopt +o default +o bashdefault 2>/dev/null
            return
            ;;
        'cache --positions')
            _mi_words 'all read'
            return
            ;;
        'cache --runs')
            _mi_words 'clean corrupted both'
            return
            ;;
        'cache --text')
            :
            return
            ;;
        'cache --window')
            compopt +o default +o bashdefault 2>/dev/null
            return
            ;;
        'cache --device')
            _mi_words 'auto cpu cuda mps'
            return
            ;;
        'cache --dtype')
            _mi_words 'auto float32 bfloat16 float16 float64'
            return
            ;;
        'cache --batch-size')
            compopt +o default +o bashdefault 2>/dev/null
            return
            ;;
        'cache --memory-budget')
            compopt +o default +o bashdefault 2>/dev/null
            return
            ;;
        'cache --executor')
            _mi_words 'auto fast generic'
            return
            ;;
        'cache --remote')
            compopt +o default +o bashdefault 2>/dev/null
            return
            ;;
        'cache --device-map')
            compopt +o default +o bashdefault 2>/dev/null
            return
            ;;
        'cache --adapter')
            :
            return
            ;;
        'cache --output' | 'cache -o')
            :
            return
            ;;
        'attribute --method')
            _mi_words 'eap eap-ig eap-ig-activations clean-corrupted nap nap-ig relp atp-star hisp ifr exact'
            return
            ;;
        'attribute --level')
            _mi_words 'edge node neuron site'
            return
            ;;
        'attribute --site')
            compopt +o default +o bashdefault 2>/dev/null
            return
            ;;
        'attribute --steps')
            compopt +o default +o bashdefault 2>/dev/null
            return
            ;;
        'attribute --rule')
            _mi_words 'left right midpoint trapezoid'
            return
            ;;
        'attribute --direction')
            _mi_words 'noising denoising'
            return
            ;;
        'attribute --backward')
            compopt +o default +o bashdefault 2>/dev/null
            return
            ;;
        'attribute --on')
            compopt +o default +o bashdefault 2>/dev/null
            return
            ;;
        'attribute --top')
            compopt +o default +o bashdefault 2>/dev/null
            return
            ;;
        'attribute --missed-bound')
            compopt +o default +o bashdefault 2>/dev/null
            return
            ;;
        'attribute --kv')
            _mi_words 'query grouped'
            return
            ;;
        'attribute --ablation')
            _mi_words 'counterfactual resample zero mean mean-positional optimal'
            return
            ;;
        'attribute --means')
            :
            return
            ;;
        'attribute --seed')
            compopt +o default +o bashdefault 2>/dev/null
            return
            ;;
        'attribute --metric')
            _mi_words 'logit-diff prob-diff logit class-prob class-logprob normalised-logit kl js accuracy top-1 top-5 top-10'
            return
            ;;
        'attribute --shard')
            compopt +o default +o bashdefault 2>/dev/null
            return
            ;;
        'attribute --compat')
            _mi_words 'mib'
            return
            ;;
        'attribute --split')
            _mi_words 'train validation test all'
            return
            ;;
        'attribute --limit')
            compopt +o default +o bashdefault 2>/dev/null
            return
            ;;
        'attribute --model' | 'attribute -m')
            _mi_words 'default planted'; COMPREPLY+=($(compgen -d -- "$current"))
            return
            ;;
        'attribute --revision')
            compopt +o default +o bashdefault 2>/dev/null
            return
            ;;
        'attribute --bos')
            _mi_words 'auto never'
            return
            ;;
        'attribute --device')
            _mi_words 'auto cpu cuda mps'
            return
            ;;
        'attribute --dtype')
            _mi_words 'auto float32 bfloat16 float16 float64'
            return
            ;;
        'attribute --batch-size')
            compopt +o default +o bashdefault 2>/dev/null
            return
            ;;
        'attribute --memory-budget')
            compopt +o default +o bashdefault 2>/dev/null
            return
            ;;
        'attribute --executor')
            _mi_words 'auto fast generic'
            return
            ;;
        'attribute --remote')
            compopt +o default +o bashdefault 2>/dev/null
            return
            ;;
        'attribute --device-map')
            compopt +o default +o bashdefault 2>/dev/null
            return
            ;;
        'attribute --adapter')
            :
            return
            ;;
        'attribute --output' | 'attribute -o')
            :
            return
            ;;
        'prune --top')
            compopt +o default +o bashdefault 2>/dev/null
            return
            ;;
        'prune --percent')
            compopt +o default +o bashdefault 2>/dev/null
            return
            ;;
        'prune --threshold')
            compopt +o default +o bashdefault 2>/dev/null
            return
            ;;
        'prune --greedy')
            compopt +o default +o bashdefault 2>/dev/null
            return
            ;;
        'prune --gap')
            compopt +o default +o bashdefault 2>/dev/null
            return
            ;;
        'prune --time-limit')
            compopt +o default +o bashdefault 2>/dev/null
            return
            ;;
        'prune --positive-ratio')
            compopt +o default +o bashdefault 2>/dev/null
            return
            ;;
        'prune --stable')
            compopt +o default +o bashdefault 2>/dev/null
            return
            ;;
        'prune --stable-by')
            _mi_words 'sign inclusion'
            return
            ;;
        'prune --resamples')
            compopt +o default +o bashdefault 2>/dev/null
            return
            ;;
        'prune --seed')
            compopt +o default +o bashdefault 2>/dev/null
            return
            ;;
        'prune --keep')
            compopt +o default +o bashdefault 2>/dev/null
            return
            ;;
        'prune --drop')
            compopt +o default +o bashdefault 2>/dev/null
            return
            ;;
        'prune --output' | 'prune -o')
            :
            return
            ;;
        'score --ablation')
            _mi_words 'counterfactual resample zero mean mean-positional optimal'
            return
            ;;
        'score --means')
            :
            return
            ;;
        'score --seed')
            compopt +o default +o bashdefault 2>/dev/null
            return
            ;;
        'score --metric')
            _mi_words 'logit-diff prob-diff logit class-prob class-logprob normalised-logit kl js accuracy top-1 top-5 top-10'
            return
            ;;
        'score --selector')
            _mi_words 'top greedy'
            return
            ;;
        'score --test')
            compopt +o default +o bashdefault 2>/dev/null
            return
            ;;
        'score --random')
            compopt +o default +o bashdefault 2>/dev/null
            return
            ;;
        'score --task')
            _mi_words 'ioi greater-than pronoun induction docstring capital sva arithmetic mcqa gender-bias'
            return
            ;;
        'score --data')
            :
            return
            ;;
        'score --split')
            _mi_words 'train validation test all'
            return
            ;;
        'score --limit')
            compopt +o default +o bashdefault 2>/dev/null
            return
            ;;
        'score --model' | 'score -m')
            _mi_words 'default planted'; COMPREPLY+=($(compgen -d -- "$current"))
            return
            ;;
        'score --revision')
            compopt +o default +o bashdefault 2>/dev/null
            return
            ;;
        'score --bos')
            _mi_words 'auto never'
            return
            ;;
        'score --device')
            _mi_words 'auto cpu cuda mps'
            return
            ;;
        'score --dtype')
            _mi_words 'auto float32 bfloat16 float16 float64'
            return
            ;;
        'score --batch-size')
            compopt +o default +o bashdefault 2>/dev/null
            return
            ;;
        'score --memory-budget')
            compopt +o default +o bashdefault 2>/dev/null
            return
            ;;
        'score --executor')
            _mi_words 'auto fast generic'
            return
            ;;
        'score --device-map')
            compopt +o default +o bashdefault 2>/dev/null
            return
            ;;
        'score --adapter')
            :
            return
            ;;
        'score --output' | 'score -o')
            :
            return
            ;;
        'pipe --output' | 'pipe -o')
            :
            return
            ;;
        'patch --site')
            compopt +o default +o bashdefault 2>/dev/null
            return
            ;;
        'patch --by')
            _mi_words 'layer,position head,position layer,head layer site site,position'
            return
            ;;
        'patch --template')
            compopt +o default +o bashdefault 2>/dev/null
            return
            ;;
        'patch --length')
            compopt +o default +o bashdefault 2>/dev/null
            return
            ;;
        'patch --metric')
            _mi_words 'logit-diff prob-diff logit class-prob class-logprob normalised-logit kl js accuracy top-1 top-5 top-10'
            return
            ;;
        'patch --split')
            _mi_words 'train validation test all'
            return
            ;;
        'patch --limit')
            compopt +o default +o bashdefault 2>/dev/null
            return
            ;;
        'patch --model' | 'patch -m')
            _mi_words 'default planted'; COMPREPLY+=($(compgen -d -- "$current"))
            return
            ;;
        'patch --revision')
            compopt +o default +o bashdefault 2>/dev/null
            return
            ;;
        'patch --bos')
            _mi_words 'auto never'
            return
            ;;
        'patch --device')
            _mi_words 'auto cpu cuda mps'
            return
            ;;
        'patch --dtype')
            _mi_words 'auto float32 bfloat16 float16 float64'
            return
            ;;
        'patch --batch-size')
            compopt +o default +o bashdefault 2>/dev/null
            return
            ;;
        'patch --memory-budget')
            compopt +o default +o bashdefault 2>/dev/null
            return
            ;;
        'patch --executor')
            _mi_words 'auto fast generic'
            return
            ;;
        'patch --remote')
            compopt +o default +o bashdefault 2>/dev/null
            return
            ;;
        'patch --device-map')
            compopt +o default +o bashdefault 2>/dev/null
            return
            ;;
        'patch --adapter')
            :
            return
            ;;
        'patch --output' | 'patch -o')
            :
            return
            ;;
        'search --method')
            _mi_words 'acdc subnetwork-probing edge-pruning ugs optimal'
            return
            ;;
        'search --tau')
            compopt +o default +o bashdefault 2>/dev/null
            return
            ;;
        'search --order')
            _mi_words 'reverse normal random'
            return
            ;;
        'search --level')
            _mi_words 'node edge'
            return
            ;;
        'search --penalty')
            compopt +o default +o bashdefault 2>/dev/null
            return
            ;;
        'search --target')
            compopt +o default +o bashdefault 2>/dev/null
            return
            ;;
        'search --node-target')
            compopt +o default +o bashdefault 2>/dev/null
            return
            ;;
        'search --masks')
            compopt +o default +o bashdefault 2>/dev/null
            return
            ;;
        'search --steps')
            compopt +o default +o bashdefault 2>/dev/null
            return
            ;;
        'search --lr')
            compopt +o default +o bashdefault 2>/dev/null
            return
            ;;
        'search --patience')
            compopt +o default +o bashdefault 2>/dev/null
            return
            ;;
        'search --checkpoint')
            :
            return
            ;;
        'search --every')
            compopt +o default +o bashdefault 2>/dev/null
            return
            ;;
        'search --kv')
            _mi_words 'query grouped'
            return
            ;;
        'search --ablation')
            _mi_words 'counterfactual resample zero mean mean-positional optimal'
            return
            ;;
        'search --means')
            :
            return
            ;;
        'search --seed')
            compopt +o default +o bashdefault 2>/dev/null
            return
            ;;
        'search --metric')
            _mi_words 'kl js logit-diff prob-diff normalised-logit accuracy top-1 top-5 top-10'
            return
            ;;
        'search --split')
            _mi_words 'train validation test all'
            return
            ;;
        'search --limit')
            compopt +o default +o bashdefault 2>/dev/null
            return
            ;;
        'search --model' | 'search -m')
            _mi_words 'default planted'; COMPREPLY+=($(compgen -d -- "$current"))
            return
            ;;
        'search --revision')
            compopt +o default +o bashdefault 2>/dev/null
            return
            ;;
        'search --bos')
            _mi_words 'auto never'
            return
            ;;
        'search --device')
            _mi_words 'auto cpu cuda mps'
            return
            ;;
        'search --dtype')
            _mi_words 'auto float32 bfloat16 float16 float64'
            return
            ;;
        'search --batch-size')
            compopt +o default +o bashdefault 2>/dev/null
            return
            ;;
        'search --memory-budget')
            compopt +o default +o bashdefault 2>/dev/null
            return
            ;;
        'search --executor')
            _mi_words 'auto fast generic'
            return
            ;;
        'search --device-map')
            compopt +o default +o bashdefault 2>/dev/null
            return
            ;;
        'search --adapter')
            :
            return
            ;;
        'search --output' | 'search -o')
            :
            return
            ;;
        'merge --output' | 'merge -o')
            :
            return
            ;;
        'set union --output' | 'set union -o')
            :
            return
            ;;
        'set intersect --output' | 'set intersect -o')
            :
            return
            ;;
        'set subtract --output' | 'set subtract -o')
            :
            return
            ;;
        'eval ground-truth --truth')
            compopt +o default +o bashdefault 2>/dev/null
            return
            ;;
        'eval ground-truth --key')
            compopt +o default +o bashdefault 2>/dev/null
            return
            ;;
        'eval ground-truth --resamples')
            compopt +o default +o bashdefault 2>/dev/null
            return
            ;;
        'eval ground-truth --seed')
            compopt +o default +o bashdefault 2>/dev/null
            return
            ;;
        'eval ground-truth --output' | 'eval ground-truth -o')
            :
            return
            ;;
        'check --baseline')
            :
            return
            ;;
        'check --max-drop')
            compopt +o default +o bashdefault 2>/dev/null
            return
            ;;
        'check --min')
            compopt +o default +o bashdefault 2>/dev/null
            return
            ;;
        'check --max')
            compopt +o default +o bashdefault 2>/dev/null
            return
            ;;
        'check --confidence')
            compopt +o default +o bashdefault 2>/dev/null
            return
            ;;
        'check --format')
            _mi_words 'text json junit github sarif'
            return
            ;;
        'check --output' | 'check -o')
            :
            return
            ;;
        'diff --atol')
            compopt +o default +o bashdefault 2>/dev/null
            return
            ;;
        'diff --rtol')
            compopt +o default +o bashdefault 2>/dev/null
            return
            ;;
        'diff --top')
            compopt +o default +o bashdefault 2>/dev/null
            return
            ;;
        'diff --output' | 'diff -o')
            :
            return
            ;;
        'view --top')
            compopt +o default +o bashdefault 2>/dev/null
            return
            ;;
        'view --by')
            _mi_words 'head layer receiver'
            return
            ;;
        'view --output' | 'view -o')
            :
            return
            ;;
        'graph --to')
            _mi_words 'svg html dot png'
            return
            ;;
        'graph --top')
            compopt +o default +o bashdefault 2>/dev/null
            return
            ;;
        'graph --by')
            _mi_words 'head layer'
            return
            ;;
        'graph --output' | 'graph -o')
            :
            return
            ;;
        'plot --what')
            _mi_words 'curve measures examples histogram heads map roc'
            return
            ;;
        'plot --to')
            _mi_words 'svg png text'
            return
            ;;
        'plot --x')
            _mi_words 'log linear'
            return
            ;;
        'plot --measure')
            compopt +o default +o bashdefault 2>/dev/null
            return
            ;;
        'plot --title')
            compopt +o default +o bashdefault 2>/dev/null
            return
            ;;
        'plot --output' | 'plot -o')
            :
            return
            ;;
        'report --findings')
            :
            return
            ;;
        'report --title')
            compopt +o default +o bashdefault 2>/dev/null
            return
            ;;
        'report --to')
            _mi_words 'html text'
            return
            ;;
        'report --output' | 'report -o')
            :
            return
            ;;
        'head --number' | 'head -n')
            compopt +o default +o bashdefault 2>/dev/null
            return
            ;;
        'head --output' | 'head -o')
            :
            return
            ;;
        'cat --output' | 'cat -o')
            :
            return
            ;;
        'split --by')
            compopt +o default +o bashdefault 2>/dev/null
            return
            ;;
        'split --fraction')
            compopt +o default +o bashdefault 2>/dev/null
            return
            ;;
        'split --seed')
            compopt +o default +o bashdefault 2>/dev/null
            return
            ;;
        'split --only')
            compopt +o default +o bashdefault 2>/dev/null
            return
            ;;
        'split --output' | 'split -o')
            :
            return
            ;;
        'log --output' | 'log -o')
            :
            return
            ;;
        'stamp --output' | 'stamp -o')
            :
            return
            ;;
        'pack --output' | 'pack -o')
            :
            return
            ;;
        'schema --output' | 'schema -o')
            :
            return
            ;;
        'import mib --level')
            _mi_words 'edge node neuron'
            return
            ;;
        'import mib --about')
            compopt +o default +o bashdefault 2>/dev/null
            return
            ;;
        'import mib --model' | 'import mib -m')
            _mi_words 'default planted'; COMPREPLY+=($(compgen -d -- "$current"))
            return
            ;;
        'import mib --revision')
            compopt +o default +o bashdefault 2>/dev/null
            return
            ;;
        'import mib --output' | 'import mib -o')
            :
            return
            ;;
        'import acdc --about')
            compopt +o default +o bashdefault 2>/dev/null
            return
            ;;
        'import acdc --model' | 'import acdc -m')
            _mi_words 'default planted'; COMPREPLY+=($(compgen -d -- "$current"))
            return
            ;;
        'import acdc --revision')
            compopt +o default +o bashdefault 2>/dev/null
            return
            ;;
        'import acdc --layers')
            compopt +o default +o bashdefault 2>/dev/null
            return
            ;;
        'import acdc --heads')
            compopt +o default +o bashdefault 2>/dev/null
            return
            ;;
        'import acdc --output' | 'import acdc -o')
            :
            return
            ;;
        'import autocircuit --key')
            compopt +o default +o bashdefault 2>/dev/null
            return
            ;;
        'import autocircuit --about')
            compopt +o default +o bashdefault 2>/dev/null
            return
            ;;
        'import autocircuit --model' | 'import autocircuit -m')
            _mi_words 'default planted'; COMPREPLY+=($(compgen -d -- "$current"))
            return
            ;;
        'import autocircuit --revision')
            compopt +o default +o bashdefault 2>/dev/null
            return
            ;;
        'import autocircuit --output' | 'import autocircuit -o')
            :
            return
            ;;
        'import edge-pruning --about')
            compopt +o default +o bashdefault 2>/dev/null
            return
            ;;
        'import edge-pruning --model' | 'import edge-pruning -m')
            _mi_words 'default planted'; COMPREPLY+=($(compgen -d -- "$current"))
            return
            ;;
        'import edge-pruning --revision')
            compopt +o default +o bashdefault 2>/dev/null
            return
            ;;
        'import edge-pruning --layers')
            compopt +o default +o bashdefault 2>/dev/null
            return
            ;;
        'import edge-pruning --heads')
            compopt +o default +o bashdefault 2>/dev/null
            return
            ;;
        'import edge-pruning --output' | 'import edge-pruning -o')
            :
            return
            ;;
        'import feature-circuits --level')
            _mi_words 'edge node'
            return
            ;;
        'import feature-circuits --about')
            compopt +o default +o bashdefault 2>/dev/null
            return
            ;;
        'import feature-circuits --output' | 'import feature-circuits -o')
            :
            return
            ;;
        'export mib --scores')
            :
            return
            ;;
        'export mib --format')
            _mi_words 'json pt'
            return
            ;;
        'export mib --submission')
            compopt +o default +o bashdefault 2>/dev/null
            return
            ;;
        'export mib --cell')
            compopt +o default +o bashdefault 2>/dev/null
            return
            ;;
        'export mib --output' | 'export mib -o')
            :
            return
            ;;
        'push --name')
            compopt +o default +o bashdefault 2>/dev/null
            return
            ;;
        'push --kind')
            _mi_words 'dataset model'
            return
            ;;
        'push --message')
            compopt +o default +o bashdefault 2>/dev/null
            return
            ;;
        'pull --revision')
            compopt +o default +o bashdefault 2>/dev/null
            return
            ;;
        'pull --sha256')
            compopt +o default +o bashdefault 2>/dev/null
            return
            ;;
        'pull --kind')
            _mi_words 'dataset model'
            return
            ;;
        'pull --output' | 'pull -o')
            :
            return
            ;;
        'mib run --model' | 'mib run -m')
            _mi_words 'default planted'; COMPREPLY+=($(compgen -d -- "$current"))
            return
            ;;
        'mib run --task')
            _mi_words 'ioi greater-than pronoun induction docstring capital sva arithmetic mcqa gender-bias'
            return
            ;;
        'mib run --data')
            compopt +o default +o bashdefault 2>/dev/null
            return
            ;;
        'mib run --method')
            compopt +o default +o bashdefault 2>/dev/null
            return
            ;;
        'mib run --level')
            compopt +o default +o bashdefault 2>/dev/null
            return
            ;;
        'mib run --number' | 'mib run -n')
            compopt +o default +o bashdefault 2>/dev/null
            return
            ;;
        'mib run --validation')
            compopt +o default +o bashdefault 2>/dev/null
            return
            ;;
        'mib run --compat')
            _mi_words 'mib'
            return
            ;;
        'mib run --revision')
            compopt +o default +o bashdefault 2>/dev/null
            return
            ;;
        'mib run --device')
            _mi_words 'auto cpu cuda mps'
            return
            ;;
        'mib run --dtype')
            _mi_words 'auto float32 bfloat16 float16 float64'
            return
            ;;
        'mib run --batch-size')
            compopt +o default +o bashdefault 2>/dev/null
            return
            ;;
        'mib run --memory-budget')
            compopt +o default +o bashdefault 2>/dev/null
            return
            ;;
        'mib run --output' | 'mib run -o')
            compopt +o default +o bashdefault 2>/dev/null
            return
            ;;
        'mib results --method-name')
            compopt +o default +o bashdefault 2>/dev/null
            return
            ;;
        'mib results --description')
            compopt +o default +o bashdefault 2>/dev/null
            return
            ;;
        'mib results --cell')
            compopt +o default +o bashdefault 2>/dev/null
            return
            ;;
        'mib results --output' | 'mib results -o')
            :
            return
            ;;
        'info --model' | 'info -m')
            _mi_words 'default planted'; COMPREPLY+=($(compgen -d -- "$current"))
            return
            ;;
        'info --revision')
            compopt +o default +o bashdefault 2>/dev/null
            return
            ;;
        'info --device')
            _mi_words 'auto cpu cuda mps'
            return
            ;;
        'info --dtype')
            _mi_words 'auto float32 bfloat16 float16 float64'
            return
            ;;
        'info --adapter')
            :
            return
            ;;
        'info --data')
            :
            return
            ;;
        'adapter probe --model' | 'adapter probe -m')
            _mi_words 'default planted'; COMPREPLY+=($(compgen -d -- "$current"))
            return
            ;;
        'adapter probe --revision')
            compopt +o default +o bashdefault 2>/dev/null
            return
            ;;
        'adapter probe --device')
            _mi_words 'auto cpu cuda mps'
            return
            ;;
        'adapter probe --dtype')
            _mi_words 'auto float32 bfloat16 float16 float64'
            return
            ;;
        'adapter probe --output' | 'adapter probe -o')
            :
            return
            ;;
        'gc --older-than')
            compopt +o default +o bashdefault 2>/dev/null
            return
            ;;
        'gc --max-size')
            compopt +o default +o bashdefault 2>/dev/null
            return
            ;;
    esac
    if [[ $current == -* ]]; then
        case $command in
            'data') _mi_words '--counterfactual --from --help --json --list --model --number --output --quiet --revision --seed --skip --split -h -m -n -o -q' ;;
            'data filter') _mi_words '--adapter --allow-pickle --batch-size --bos --device --device-map --dry-run --dtype --executor --help --json --memory-budget --model --output --quiet --revision --tf32 --trust-remote-code -h -m -o -q' ;;
            'data circuit') _mi_words '--help --json --output --quiet -h -o -q' ;;
            'cache') _mi_words '--adapter --allow-pickle --answers --batch-size --bos --by-position --counterfactual --data --device --device-map --dry-run --dtype --executor --fresh --help --json --limit --means --memory-budget --metric --model --number --output --positions --quiet --remote --revision --runs --seed --site --task --tensor-parallel --text --tf32 --trust-remote-code --window -h -m -n -o -q' ;;
            'attribute') _mi_words '--ablation --adapter --allow-pickle --backward --batch-size --bos --compat --device --device-map --direction --dry-run --dtype --executor --fresh --help --json --kv --level --limit --means --memory-budget --method --metric --missed-bound --model --normalise-layers --on --output --quiet --remote --revision --rule --seed --shard --site --split --steps --tensor-parallel --tf32 --top --trust-remote-code -h -m -o -q' ;;
            'prune') _mi_words '--drop --exact-size --gap --greedy --help --ilp --json --keep --output --percent --positive-ratio --quiet --resamples --seed --signed --stable --stable-by --strict --threshold --time-limit --top -h -o -q' ;;
            'score') _mi_words '--ablation --adapter --allow-pickle --batch-size --bos --data --device --device-map --dry-run --dtype --executor --fresh --help --json --limit --means --memory-budget --metric --model --output --quiet --random --revision --seed --selector --split --task --tensor-parallel --test --tf32 --trust-remote-code -h -m -o -q' ;;
            'pipe') _mi_words '--help --json --output --quiet -h -o -q' ;;
            'patch') _mi_words '--adapter --allow-pickle --batch-size --bos --by --denoising --device --device-map --dry-run --dtype --executor --fresh --help --json --length --limit --memory-budget --metric --model --noising --output --quiet --remote --revision --site --split --template --tensor-parallel --tf32 --trust-remote-code -h -m -o -q' ;;
            'search') _mi_words '--ablation --abs --adapter --allow-pickle --batch-size --bos --checkpoint --device --device-map --dry-run --dtype --every --executor --fresh --help --json --kv --learn-constants --level --limit --lr --masks --means --memory-budget --method --metric --model --node-target --order --output --patience --penalty --quiet --ranking --remove-redundant --revision --seed --split --steps --target --tau --tensor-parallel --tf32 --trust-remote-code -h -m -o -q' ;;
            'merge') _mi_words '--help --json --max --mean --min --normalise --output --quiet --rank-mean --sum -h -o -q' ;;
            'set') _mi_words '--help --quiet -h -q' ;;
            'set union') _mi_words '--help --json --output --quiet -h -o -q' ;;
            'set intersect') _mi_words '--help --json --output --quiet -h -o -q' ;;
            'set subtract') _mi_words '--help --json --output --quiet -h -o -q' ;;
            'eval') _mi_words '--help --quiet -h -q' ;;
            'eval ground-truth') _mi_words '--help --json --key --output --quiet --resamples --seed --signed --truth -h -o -q' ;;
            'check') _mi_words '--baseline --confidence --format --help --json --max --max-drop --min --output --quiet --strict --update -h -o -q' ;;
            'diff') _mi_words '--atol --help --json --output --quiet --rtol --top -h -o -q' ;;
            'view') _mi_words '--by --head --help --json --output --quiet --svg --top -H -h -o -q' ;;
            'graph') _mi_words '--by --help --output --quiet --to --top -h -o -q' ;;
            'plot') _mi_words '--help --measure --output --quiet --title --to --what --x -h -o -q' ;;
            'report') _mi_words '--findings --help --output --quiet --title --to -h -o -q' ;;
            'head') _mi_words '--help --json --number --output --quiet -h -n -o -q' ;;
            'cat') _mi_words '--help --json --output --quiet -h -o -q' ;;
            'split') _mi_words '--by --fraction --help --json --only --output --quiet --seed -h -o -q' ;;
            'log') _mi_words '--help --json --output --quiet --script -h -o -q' ;;
            'verify') _mi_words '--help --json --quiet -h -q' ;;
            'stamp') _mi_words '--help --output --quiet -h -o -q' ;;
            'pack') _mi_words '--help --output --quiet -h -o -q' ;;
            'schema') _mi_words '--help --output --quiet -h -o -q' ;;
            'import') _mi_words '--help --quiet -h -q' ;;
            'import mib') _mi_words '--about --circuit --help --json --level --model --output --quiet --revision -h -m -o -q' ;;
            'import acdc') _mi_words '--about --heads --help --json --layers --model --output --quiet --revision --scores -h -m -o -q' ;;
            'import autocircuit') _mi_words '--about --help --json --key --model --output --parallel --quiet --revision -h -m -o -q' ;;
            'import edge-pruning') _mi_words '--about --heads --help --json --layers --model --output --quiet --revision -h -m -o -q' ;;
            'import feature-circuits') _mi_words '--about --circuit --help --json --level --output --quiet -h -o -q' ;;
            'export') _mi_words '--help --quiet -h -q' ;;
            'export mib') _mi_words '--cell --format --help --nine --output --quiet --scores --submission -h -o -q' ;;
            'push') _mi_words '--help --kind --message --name --private --quiet -h -q' ;;
            'pull') _mi_words '--help --json --kind --output --quiet --revision --sha256 -h -o -q' ;;
            'mib') _mi_words '--help --quiet -h -q' ;;
            'mib run') _mi_words '--batch-size --compat --data --device --dtype --help --level --matrix --memory-budget --method --model --number --output --quiet --revision --task --validation -h -m -n -o -q' ;;
            'mib results') _mi_words '--cell --description --help --method-name --output --quiet -h -o -q' ;;
            'info') _mi_words '--adapter --allow-pickle --data --device --dtype --help --json --model --quiet --revision --trust-remote-code -h -m -q' ;;
            'adapter') _mi_words '--help --json -h' ;;
            'adapter probe') _mi_words '--allow-pickle --device --dtype --help --json --model --output --quiet --revision --trust-remote-code -h -m -o -q' ;;
            'adapter show') _mi_words '--help --json -h' ;;
            'gc') _mi_words '--dry-run --help --json --max-size --older-than --quiet -h -q' ;;
        esac
        return
    fi
    case $command in
        'data') _mi_words 'ioi greater-than pronoun induction docstring capital sva arithmetic mcqa gender-bias filter circuit' ;;
        'set') _mi_words 'union intersect subtract' ;;
        'eval') _mi_words 'ground-truth' ;;
        'schema') _mi_words 'examples cache scores circuit report effects means' ;;
        'import') _mi_words 'mib acdc autocircuit edge-pruning feature-circuits' ;;
        'export') _mi_words 'mib' ;;
        'mib') _mi_words 'run results' ;;
        'adapter') _mi_words 'probe show' ;;
    esac
}

_mi_words() {
    COMPREPLY=($(compgen -W "$1" -- "$current"))
}

complete -o filenames -o bashdefault -o default -F _mi mi
