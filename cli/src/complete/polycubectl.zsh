#compdef polycubectl
# Completion of polycubectl for zsh: source <(polycubectl completion zsh), after compinit; or save it as a file
# _polycubectl in a directory of $fpath.

_polycubectl() {
    local line word about
    local program=${${words[1]/#'~/'/$HOME/}/#'$HOME/'/$HOME/}
    local -a words_ready words_open
    if [[ ${words[CURRENT-1]} == (-w|--token-file|--cacert|--cert|--key) ]] || compset -P '(-w|--token-file|--cacert|--cert|--key)='; then
        _files
        return
    fi
    whence -- $program >/dev/null || program=polycubectl
    for line in "${(@f)$($program --complete "${(@Q)words[2,CURRENT-1]}" "$PREFIX" 2>/dev/null)}"; do
        [[ -n $line ]] || continue
        word=${line%%$'\t'*} about=${line#*$'\t'}
        word=${word//:/\\:}
        if [[ $word == *= ]]; then
            words_open+=("$word:$about")
        else
            words_ready+=("$word:$about")
        fi
    done
    _describe polycubectl words_ready -- words_open -S ''
}

if [[ $funcstack[1] == _polycubectl ]]; then
    _polycubectl "$@"
else
    compdef _polycubectl polycubectl
fi
