# Completion of polycubectl for bash: source <(polycubectl completion bash)

_polycubectl() {
    local line=${COMP_LINE:0:COMP_POINT} words current word breaks= cut=
    read -ra words <<<"$line"
    [[ $line == *[[:space:]] ]] && words+=('')
    current=${words[-1]}
    # Readline replaces what follows the last of its break characters, not the whole word.
    [[ $COMP_WORDBREAKS == *=* ]] && breaks+='='
    [[ $COMP_WORDBREAKS == *:* ]] && breaks+=':'
    [[ -n $breaks && $current == *["$breaks"]* ]] && cut=${current%"${current##*["$breaks"]}"}
    COMPREPLY=()
    if [[ ${#words[@]} -gt 1 && ${words[-2]} == @(-w|--token-file) ]]; then
        mapfile -t COMPREPLY < <(compgen -f -- "$current")
        compopt -o filenames
        return
    fi
    while IFS=$'\t' read -r word _; do
        COMPREPLY+=("${word#"$cut"}")
    done < <("${words[0]}" --complete "${words[@]:1}" 2>/dev/null)
    if [[ ${#COMPREPLY[@]} -eq 1 && ${COMPREPLY[0]} == *= ]]; then
        compopt -o nospace
    fi
}

complete -F _polycubectl polycubectl
