# Completion of polycubectl for fish: polycubectl completion fish | source

function __polycubectl_complete
    set -l words (commandline -opc)
    set -l current (commandline -ct)
    if contains -- $words[-1] -w --token-file --cacert --cert --key
        __fish_complete_path $current
        return
    end
    if set -l flag (string match -r '^(?:-w|--token-file|--cacert|--cert|--key)=' -- $current)
        printf "$flag%s\n" (__fish_complete_path (string replace -- $flag '' $current))
        return
    end
    set -l program (string replace -r '^(~|\$HOME)/' $HOME/ -- $words[1])
    type -q $program; or set program polycubectl
    $program --complete $words[2..-1] $current 2>/dev/null
end

complete -c polycubectl -f -a '(__polycubectl_complete)'
