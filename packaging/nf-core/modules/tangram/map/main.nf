process TANGRAM_MAP {
    tag "$meta.id"
    label 'process_high'

    conda "${moduleDir}/environment.yml"
    container 'tangram-hpc:0.1.0'

    input:
    tuple val(meta), path(cells), path(voxels)

    output:
    tuple val(meta), path("${prefix}"), emit: run
    path "versions.yml"               , emit: versions

    when:
    task.ext.when == null || task.ext.when

    script:
    def args = task.ext.args ?: ''
    prefix   = task.ext.prefix ?: "${meta.id}"
    """
    tangram map \\
        --cells ${cells} \\
        --voxels ${voxels} \\
        --threads ${task.cpus} \\
        --resume \\
        --out ${prefix} \\
        ${args}

    cat <<-END_VERSIONS > versions.yml
    "${task.process}":
        tangram: \$(tangram -V | sed 's/tangram //')
    END_VERSIONS
    """

    stub:
    prefix = task.ext.prefix ?: "${meta.id}"
    """
    mkdir ${prefix}
    touch ${prefix}/run.toml

    cat <<-END_VERSIONS > versions.yml
    "${task.process}":
        tangram: \$(tangram -V | sed 's/tangram //')
    END_VERSIONS
    """
}
