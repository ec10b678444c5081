# Completion of polycubectl for fish: polycubectl completion fish | source

function __polycubectl_complete
    set -l words (commandline -opc)
    $words[1] --complete $words[2..-1] (commandline -ct) 2>/dev/null
end

complete -c polycubectl -f -a '(__polycubectl_complete)'
