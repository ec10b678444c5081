# Completion of polycubectl for fish: polycubectl completion fish | source

function __polycubectl_complete
    set -l words (commandline -opc)
    if contains -- $words[-1] -w --token-file
        __fish_complete_path (commandline -ct)
        return
    end
    $words[1] --complete $words[2..-1] (commandline -ct) 2>/dev/null
end

complete -c polycubectl -f -a '(__polycubectl_complete)'
