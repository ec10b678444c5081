# Completion of polycubectl for bash: source <(polycubectl completion bash)

_polycubectl() {
    local rest=${COMP_LINE:0:COMP_POINT} words=() before=() text word program current cut at
    # Readline breaks words at `=` and `:`; only blanks end a word here.
    for ((at = 0; at <= COMP_CWORD; at++)); do
        text=${rest#"${rest%%[![:space:]]*}"}
        word=${COMP_WORDS[at]}
        ((at == COMP_CWORD)) && word=$text
        if [[ ${#words[@]} -gt 0 && $text == "$rest" ]]; then
            words[-1]+=$word
        else
            words+=("$word")
        fi
        rest=${text#"$word"}
    done
    COMPREPLY=()
    if [[ ${words[-2]} == @(-w|--token-file|--cacert|--cert|--key|*[\<\>]) ||
        ${words[-1]} == @(-w=*|--token-file=*|--cacert=*|--cert=*|--key=*|*([0-9&])[\<\>]*) ]]; then
        compopt -o default
        return
    fi
    # Redirections and their files are not arguments.
    for word in "${words[@]:1:${#words[@]}-2}"; do
        [[ $word != *([0-9&])[\<\>]* && $at != *[\<\>] ]] && before+=("${word//[\"\'\\]/}")
        at=$word
    done
    current=${words[-1]//[\"\'\\]/}
    # Readline replaces the end of the word only.
    cut=${current%"$2"}
    program=${words[0]/#'~/'/"$HOME/"}
    program=${program/#'$HOME/'/"$HOME/"}
    type -t "$program" >/dev/null || program=polycubectl
    while IFS=$'\t' read -r word _; do
        COMPREPLY+=("${word#"$cut"}")
    done < <("$program" --complete "${before[@]}" "$current" 2>/dev/null)
    if [[ ${#COMPREPLY[@]} -eq 1 && ${COMPREPLY[0]} == *= ]]; then
        compopt -o nospace
    fi
}

complete -F _polycubectl polycubectl
